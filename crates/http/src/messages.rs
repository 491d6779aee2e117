//! What people read when something is refused: one sentence per code, Chinese first, and the next step where there is one.
//!
//! `{name}` is replaced by the fault's parameter of that name. A code without a sentence is a fault that a test finds.

use std::collections::BTreeMap;
use std::fmt;

/// Languages of the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    Chinese,
    English,
}

impl Language {
    /// The tag for `Content-Language`.
    pub(crate) const fn tag(self) -> &'static str {
        match self {
            Self::Chinese => "zh-CN",
            Self::English => "en",
        }
    }
}

/// Code, Chinese, English; in order of codes.
const SENTENCES: &[(&str, &str, &str)] = &[
    (
        "alarm.still_standing",
        "报警条件仍然存在，恢复正常后才能关闭。",
        "The condition still stands; close the alarm after it has returned.",
    ),
    ("api_key.dataset", "此密钥未获准读取数据集 {dataset}。", "This key was not made for the dataset {dataset}."),
    (
        "api_key.day",
        "此密钥今天的请求次数已用完，请在 {seconds} 秒后重试。",
        "The requests of this key are used up for today; try again in {seconds} seconds.",
    ),
    (
        "api_key.minute",
        "此密钥本分钟的请求次数已用完，请在 {seconds} 秒后重试。",
        "The requests of this key are used up for this minute; try again in {seconds} seconds.",
    ),
    ("api_key.not_here", "密钥只能读取开放数据；此处需要登录。", "Keys read open data alone; sign in to ask for this."),
    (
        "api_key.over",
        "此密钥已于 {day} 到期，请向发放单位申请新的密钥。",
        "This key was valid until {day}; ask whoever gave it for another.",
    ),
    ("api_key.read_only", "密钥只能读取，不能写入。", "A key reads and changes nothing."),
    ("api_key.revoked", "此密钥已被撤销。", "This key was revoked."),
    ("api_key.unknown", "没有这个密钥，请核对是否完整。", "There is no such key; check that it is whole."),
    ("api_key.until", "有效期须从今天起、不晚于 {max}。", "Choose a last day from today to {max}."),
    (
        "archive.unreadable",
        "归档暂时无法读取：所查时段的数据只在归档中，请检查 archive.url 指向的位置。",
        "The archive cannot be read, and the period is in the archive alone; check the place that archive.url names.",
    ),
    (
        "assessment.changed",
        "内容已与您看到的不同，请刷新核对后再签发。",
        "It says something else by now than what you read; reload, and read it before you freeze it.",
    ),
    ("assessment.evidence", "请附上 1 至 {max} 条记录作为依据。", "Name 1 to {max} records as evidence."),
    ("assessment.exists", "该年度的考核已经建立。", "This year's assessment was begun already."),
    ("assessment.frozen", "考核已签发，不能再改。", "The assessment is frozen; nothing changes it."),
    ("assessment.no_units", "该区划之下没有可考核的单位。", "There is no division below it that this table assesses."),
    ("assessment.not_frozen", "考核尚未签发。", "The assessment is not frozen yet."),
    ("assessment.own", "须由评分人以外的人确认。", "Somebody else than who gave it confirms it."),
    ("assessment.points", "请填写 0 至 {most} 之间的数。", "Give a number from 0 to {most}."),
    ("assessment.reckoned", "该项由系统计算，不能人工评分。", "This is reckoned; nobody gives points to it."),
    (
        "assessment.unfinished",
        "还有 {n} 项没有评分或未经确认（如 {unit} 的 {item}），不能签发。",
        "{n} lines have no points or are not confirmed (such as {unit}: {item}); it cannot be frozen.",
    ),
    ("attachment.busy", "正在上传的文件过多，请稍后重试。", "Too many files are being uploaded; try again in a moment."),
    (
        "attachment.disk",
        "文件无法保存到磁盘，请稍后重试并告知管理员。",
        "The file cannot be stored; try again later and tell the administrator.",
    ),
    (
        "attachment.disk_low",
        "磁盘剩余空间不足，暂不接收附件，请告知管理员。",
        "The disk is nearly full: no files are taken for now; tell the administrator.",
    ),
    ("attachment.empty", "文件是空的。", "The file is empty."),
    (
        "attachment.full",
        "本节点的附件已达总上限 {max_mb} MB，请告知管理员。",
        "The node keeps {max_mb} MB of files already, which is all it may; tell the administrator.",
    ),
    (
        "attachment.heic",
        "不接收 HEIC 照片：请在手机相机设置中选择“兼容性最佳”（JPEG），或另存为 JPEG 后重试。",
        "HEIC pictures are not taken: choose “Most Compatible” (JPEG) in the camera's settings, or save it as JPEG.",
    ),
    (
        "attachment.macros",
        "文件含有宏，请另存为不含宏的 .docx 或 .xlsx 后重试。",
        "The document carries macros; save it as .docx or .xlsx without them.",
    ),
    (
        "attachment.markup",
        "不接收 HTML、SVG、XML 等网页内容；请转为 PDF 或图像后重试。",
        "Pages and drawings of the web (HTML, SVG, XML) are not taken; make a PDF or a picture of it.",
    ),
    (
        "attachment.name",
        "文件名以 .{extension} 结尾，内容却是 {found}：请用正确的文件或改正文件名后重试。",
        "The name ends in .{extension}, but the content is {found}; choose the right file or correct its name.",
    ),
    (
        "attachment.picture",
        "图像已损坏，无法打开，请重新拍摄或另存后重试。",
        "The picture is damaged and cannot be opened; take or save it again.",
    ),
    (
        "attachment.picture_size",
        "图像过大：最多 {megapixels} 百万像素，请缩小后重试。",
        "The picture is too large: at most {megapixels} million pixels; make it smaller.",
    ),
    ("attachment.program", "不接收可执行文件和脚本。", "Programs and scripts are not taken."),
    ("attachment.record_full", "一条记录最多 {max} 个附件。", "A record has at most {max} files."),
    ("attachment.role", "您的角色不办理台账，不能上传附件。", "Your roles take no step of a register, so there is nothing to upload for."),
    ("attachment.too_large", "文件过大：最多 {max_mb} MB，请压缩后重试。", "The file is too large: at most {max_mb} MB."),
    (
        "attachment.type",
        "不接收这种文件：只收 JPEG、PNG、WebP 图像，PDF，DOCX、XLSX 文档，MP4 视频和 UTF-8 纯文本；按内容识别，与文件名无关。",
        "Files of this type are not taken: JPEG, PNG, WebP, PDF, DOCX, XLSX, MP4 and UTF-8 text are, known by their content whatever the name says.",
    ),
    (
        "attachment.unreadable",
        "附件在服务器上已丢失或被改动，请告知管理员运行 anlan audit verify。",
        "The file is gone or was altered on the server; tell the administrator to run anlan audit verify.",
    ),
    (
        "attachment.waiting",
        "您已上传、尚未随记录提交的文件达到上限（{max_mb} MB 或 {max} 个），请先提交或移除。",
        "Your uploads that no record names yet are as many as they may be ({max_mb} MB or {max} files); submit or remove them first.",
    ),
    ("body.not_bytes", "请以 application/octet-stream 发送文件内容。", "Send the bytes of the file as application/octet-stream."),
    (
        "body.not_json",
        "请求正文必须是 JSON，并带有 Content-Type: application/json。",
        "The body must be JSON with Content-Type: application/json.",
    ),
    (
        "body.not_xlsx",
        "请上传 XLSX 文件（Content-Type 为 application/vnd.openxmlformats-officedocument.spreadsheetml.sheet）。",
        "Send an XLSX file, with its Content-Type.",
    ),
    (
        "body.syntax",
        "请求正文不是有效的 JSON（第 {line} 行第 {column} 列）。",
        "The body is not valid JSON (line {line}, column {column}).",
    ),
    ("body.too_large", "请求正文过长，请分次提交。", "The body is too long; send it in parts."),
    ("body.too_slow", "请求正文未能在 10 秒内传完，请重试。", "The body did not arrive within 10 seconds; try again."),
    (
        "certificate.key_lost",
        "本节点的证书签名密钥（{key}）丢失或被替换，暂不能签发证书：请管理员从备份恢复 certificate.key，或运行 anlan certificate key --new。",
        "The key of this node that signs certificates ({key}) is gone or was replaced; restore certificate.key from a backup or run anlan certificate key --new.",
    ),
    (
        "certificate.malformed",
        "这不是完整的证书编码，或内容已被改动。编码以 AL1. 开头，请完整扫描或粘贴二维码的内容。",
        "This is no certificate, not all of it, or it was altered. Its text begins with AL1.; scan or paste the whole of the QR code.",
    ),
    ("certificate.none", "这类台账的记录没有证书。", "Records of this register carry no certificate."),
    (
        "certificate.page",
        "page 须为网址的协议和主机，如 https://anlan.example.cn。",
        "page is scheme and host of an address, such as https://anlan.example.cn.",
    ),
    (
        "certificate.slow_down",
        "核验过于频繁，请在 {seconds} 秒后再试。",
        "Too many certificates were checked from here; wait {seconds} seconds.",
    ),
    ("certificate.state", "记录在现在的状态下没有证书，证书只在有效期间出具。", "The record carries no certificate in its present state."),
    ("clock.backward", "测试时钟只能向前调整。", "The test clock only moves forward."),
    ("clock.one_of", "请只给出 set、advance_s、rate 中的一个。", "Give exactly one of set, advance_s and rate."),
    ("code.separator", "编码不能含有空格以及 / + # : , 字符。", "A device code has no spaces and none of / + # : ,"),
    ("combination.elsewhere", "组合规则只能引用本企业的测点。", "A combination names points of its own enterprise only."),
    ("combination.members", "组合条件的数量必须在 {min} 到 {max} 之间。", "A combination has between {min} and {max} members."),
    (
        "combination.mirrored",
        "测点“{point}”属于下级节点，其报警在下级节点判断，不能用于本节点的组合规则。",
        "The point {point} belongs to another node, which judges its alarms; a combination rule here cannot name it.",
    ),
    (
        "combination.no_rule",
        "测点“{point}”没有这种报警规则；请先设置限值或周期。",
        "The point {point} has no such rule; set its limit or period first.",
    ),
    ("combination.too_many", "每个企业最多 {max} 条组合规则。", "An enterprise has at most {max} combination rules."),
    ("combination.twice", "同一测点的同一条件出现了两次。", "The same condition of the same point appears twice."),
    (
        "command.not_for_target",
        "该对象不支持这种指令，或该指令已停用。",
        "The target does not take this command, or the command is switched off.",
    ),
    ("command.not_json", "下发给设备的内容必须是 JSON。", "The payload for a device must be JSON."),
    ("command.target", "请在 vehicle 与 device 中指定且只指定一个。", "Name exactly one of vehicle and device."),
    ("csrf.missing", "缺少或错误的 X-CSRF-Token，请刷新页面后重试。", "X-CSRF-Token is missing or wrong; reload the page and try again."),
    ("csv.too_long", "一个文件最多 {most} 条读数，请缩短时间段。", "A file holds at most {most} readings; ask for a shorter time."),
    ("cursor.malformed", "翻页标记无效，请从第一页重新开始。", "The cursor is not of this list; start again from the first page."),
    ("day.future", "该日尚未到来。", "That day has not come yet."),
    ("decision.by", "批准机关、文号和理由都要填写。", "Name who approved it, the document and the reason."),
    ("decision.decided", "已经有人作出决定，请刷新后查看。", "Somebody has decided already; look again."),
    (
        "decision.decided_on",
        "批准日期须在规划期内，且不晚于新的期限或所定年份。",
        "The day of the decision lies in the plan, and not after the new deadline or the day it asks for.",
    ),
    (
        "decision.drop_percent",
        "下降幅度须大于 0、不超过 100，且不能与目标值同时填写，也不能用于越高越好的目标。",
        "A cut is above 0 and at most 100, stands without a value, and is not of a target that goes up.",
    ),
    ("decision.malformed", "内容填写有误：{reason}", "This cannot be read: {reason}"),
    ("decision.number", "须是最多 {digits} 位数字的数，例如 0.22。", "A number of at most {digits} digits, such as 0.22."),
    (
        "decision.on",
        "日期须在规划期内（或调整后的期限内），且同一目标同一天只能有一个数。",
        "The day lies in the plan or before an adjusted deadline, and has one number.",
    ),
    ("decision.own", "不能批准自己提出的内容，请由另一人决定。", "You proposed it; somebody else decides."),
    (
        "decision.region",
        "区划须在规划所辖之内且低于规划一级，同一目标只能分解一次。",
        "The division lies below that of the plan, and has one part of a target.",
    ),
    ("decision.target", "没有这个目标，或它没有可以比较的数值。", "There is no such target, or it has no number."),
    ("decision.to", "结束日期不能早于起始日期，也不能晚于今天。", "The last day is not before the first, and not after today."),
    ("decision.too_many", "待批准的提议已有 {max} 项，请先处理。", "{max} proposals wait already; decide some of them first."),
    (
        "decision.value",
        "须填写一个可以改变目标的数：目标值、下降幅度、基数、基年或期限。",
        "Say what changes: a value, a cut, a baseline, its year or a deadline.",
    ),
    (
        "device.combined",
        "组合规则“{name}”引用了该设备的测点，请先从规则中移除再更换企业。",
        "The combination {name} names points of the device; take them out of it before the device changes its enterprise.",
    ),
    ("document.changed", "内容在此期间已经改变，请重新预览后再提交。", "The content has changed meanwhile: read the preview again."),
    (
        "document.damaged",
        "公文内容与其摘要不符，可能已被改动，请联系管理员从备份核对。",
        "The content does not match its digest; it may have been altered. Ask the administrator to compare a backup.",
    ),
    ("document.future", "不能晚于今天。", "It lies in the future."),
    ("document.month", "请填写月份，如 2026-11。", "Name a month, such as 2026-11."),
    (
        "document.no_font",
        "服务器上没有{face}可用的字体，不能生成 PDF：请安装（{known}）之一，或设置 documents.fonts。",
        "The server has no font for {face}: install one of {known}, or set documents.fonts.",
    ),
    ("document.no_region", "该记录没有行政区划，不能成文。", "The record has no division."),
    (
        "document.no_typesetter",
        "本程序未带排版功能，不能生成 PDF；可在页面上打印，或使用带 pdf 功能的版本。",
        "This build makes no PDF: print the page, or use a build with the feature pdf.",
    ),
    ("document.not_listed", "该隐患没有在挂牌督办中。", "It is not listed, or no longer."),
    ("document.section", "没有名为 {section} 的部分。", "There is no part {section}."),
    ("document.too_many", "记录超过 {max} 条，请选较小的区划。", "More than {max} records: choose a smaller division."),
    (
        "document.uncovered",
        "下列字符没有字体可以显示：{characters}。请安装含这些字的字体，或改写后再签发。",
        "No font shows these characters: {characters}. Install one that does, or write them otherwise.",
    ),
    ("document.unfit", "不能成文：{reason}。", "It cannot be composed: {reason}."),
    ("duty.confirmed", "下一班已确认交接班，不能再修改。", "The next shift has confirmed the handover; it cannot be changed any more."),
    (
        "duty.no_grant",
        "该人员在该区划没有权限，不能排入班次 {shift}。",
        "That person has no grant for the division and cannot take the shift {shift}.",
    ),
    ("duty.not_begun", "本班 {from} 才开始，还不能交班。", "The shift begins at {from}; there is nothing to hand over yet."),
    ("duty.not_next", "只有同一岗位下一班的人员才能确认交接班。", "Only people of the next shift at the same desk confirm a handover."),
    ("duty.not_yours", "只有本班人员才能写交班内容。", "Only whoever is on duty in the shift hands it over."),
    ("duty.nothing_handed_over", "该班次还没有交班内容。", "Nothing was handed over yet."),
    ("duty.overlap", "{person} 的班次 {shift} 与其已有班次 {other} 重叠。", "{person} would be on duty {shift} and {other} at once."),
    ("duty.past", "已经开始的班次，修改时必须写明原因。", "The shift has begun: give a reason for changing it."),
    ("duty.shift_too_long", "一个班次最长 {max} 天。", "A shift lasts at most {max} days."),
    ("duty.swap_itself", "请选择另一个班次来对调。", "Choose another shift to swap with."),
    ("duty.time", "时间请写成 HH:MM，例如 08:00。", "Write a time as HH:MM, such as 08:00."),
    ("duty.too_long", "一次最多排 {max} 天。", "A pattern covers at most {max} days."),
    ("duty.twice", "第二值班人不能与值班人相同。", "The second person must be somebody else."),
    (
        "enterprise.code_character",
        "统一社会信用代码含有不允许的字符：只用数字和 I、O、S、V、Z 以外的大写字母。",
        "A credit code has digits and capital letters other than I, O, S, V and Z.",
    ),
    (
        "enterprise.code_check_digit",
        "统一社会信用代码的校验位不对，请核对。",
        "The last character of the credit code does not follow from the others; look at it again.",
    ),
    ("enterprise.code_length", "统一社会信用代码应为 18 位。", "A credit code has 18 characters."),
    ("enterprise.kept_elsewhere", "该企业由下级节点维护，请在该节点修改。", "The enterprise is kept by a node below; change it there."),
    (
        "enterprise.merge_conflict",
        "两家企业的台账编号冲突（{key}）：{one} 与 {other}，请先修改或办结其中一条。",
        "Both have an open record {key}: {one} and {other}. Change or end one of them first.",
    ),
    ("enterprise.merged", "该企业已并入另一家企业，请改用合并后的企业。", "This enterprise was merged into another; use that one."),
    ("export.disk", "磁盘读写失败，稍后自动重试。", "The disk could not be read or written; it is tried again."),
    (
        "export.disk_low",
        "磁盘剩余空间不足，暂不生成导出文件，请联系系统管理员。",
        "The disk is nearly full, so no files are made; tell your administrator.",
    ),
    ("export.gone", "导出文件已不在，请重新导出。", "The file is no longer there; ask for it again."),
    (
        "export.grants_changed",
        "您的权限在导出之后有变化，请重新导出。",
        "Your grants are others than when this was asked for; ask for it again.",
    ),
    (
        "export.too_many_files",
        "超过 {max} 个文件，请增大每个文件的条数或缩小范围。",
        "More than {max} files; put more records into each, or narrow the list.",
    ),
    ("export.waiting", "您已有 {max} 个导出任务在等待，请稍候。", "{max} of your lists are being made into files already; wait for them."),
    ("fact.count", "一次可登记 1 至 {max} 行。", "Record 1 to {max} rows at a time."),
    ("fact.finding", "认定只能是 1（已做到）或 0（没有做到）。", "A finding is 1 (it is so) or 0 (it is not)."),
    (
        "fact.finding_of",
        "该区划的规划中没有这个由人工认定的目标，或认定日期早于规划开始。",
        "No plan of this division has such a target that a person finds, or it had not begun.",
    ),
    ("fact.future", "日期不能晚于今天。", "The day is not after today."),
    (
        "fact.known_on",
        "获知日期不能早于数据所属日期，更正不能早于被更正的那一行。",
        "It cannot be known before its day, nor a revision before what it revises.",
    ),
    (
        "fact.revises",
        "同一来源、区划、行业、日期已有一行，请写明更正哪一行；被更正的须是同一事项且尚未更正过。",
        "There is a row of this source, division, sector and day: name the row that this one revises, one of the same thing that was not revised yet.",
    ),
    ("fact.sector", "没有这个行业代码，请从列表中选择。", "There is no such sector; choose one of the list."),
    ("fact.source", "没有这个数据来源。", "There is no such source."),
    ("fact.value", "须是不小于 0、最多 {digits} 位数字的数，例如 736.5。", "A number from 0 with at most {digits} digits, such as 736.5."),
    ("fact.year_end", "年度数据的日期须是当年 12 月 31 日。", "The day of a year's figure is its 31 December."),
    ("field.missing", "缺少必填字段。", "A required field is missing."),
    ("field.unknown", "不认识的字段。", "Unknown field."),
    ("field.wrong_type", "字段类型不正确：{reason}。", "The field has the wrong type: {reason}."),
    (
        "history.unreadable",
        "历史数据读取失败，请在服务器上运行 anlan history verify 检查。",
        "The history cannot be read; run anlan history verify on the server.",
    ),
    ("id.malformed", "标识格式不正确。", "Not an id."),
    ("internal", "服务器内部错误，请把跟踪号告诉管理员。", "Internal error; give the trace id to the administrator."),
    (
        "limits.order",
        "限值必须按 低低 < 低 < 高 < 高高 递增；此值不高于 {below}。",
        "Limits must rise from ll over l and h to hh; this one is not above {below}.",
    ),
    ("limits.source_missing", "设置限值必须写明依据（标准或文件）。", "A limit needs its source: the standard or document it comes from."),
    ("list.length", "数量必须在 1 到 {max} 之间。", "Give between 1 and {max} entries."),
    ("list.twice", "同一编码出现了两次。", "The same code appears twice."),
    ("live.full", "实时连接数已达上限，请稍后重试。", "Too many live connections; try again later."),
    ("live.too_many", "您的实时连接数已达上限（{most}），请关闭其他页面。", "You have {most} live connections already; close other pages."),
    ("live.upgrade", "此地址只接受 WebSocket 连接。", "This address speaks WebSocket only."),
    (
        "media.unreadable",
        "文件在服务器上无法读取或已损坏，请告知管理员核对磁盘。",
        "The file cannot be read or is damaged on the server; tell the administrator to look at the disk.",
    ),
    ("method.unknown", "此地址不支持这种请求方法。", "This address does not have that method."),
    ("modbus.address", "请写 IP:端口，例如 10.20.3.7:502；不解析域名。", "Write IP:port, such as 10.20.3.7:502; names are not resolved."),
    (
        "modbus.bit",
        "仅保持/输入寄存器中的 bool 需要 bit（0 到 15）。",
        "A bool in holding or input registers needs a bit from 0 to 15; nothing else has one.",
    ),
    ("modbus.bits", "{table} 是开关量，类型只能是 bool。", "The table {table} holds bits; the type must be bool."),
    (
        "modbus.devices_max",
        "轮询设备数已达上限 {max}（配置 modbus.devices_max）。",
        "The node polls {max} devices already (configuration key modbus.devices_max).",
    ),
    ("modbus.forbidden", "该地址在禁读范围内。", "The register stands on a forbidden address."),
    (
        "modbus.network",
        "{address} 不在允许轮询的网段内，请管理员在配置 modbus.networks 中加入。",
        "{address} is outside the networks that may be polled; the operator adds them to modbus.networks.",
    ),
    (
        "modbus.protocol",
        "该设备的接入方式是 {protocol}；先把它改为 modbus。",
        "The device's protocol is {protocol}; change it to modbus first.",
    ),
    (
        "modbus.register",
        "寄存器地址从 0 起、最大 65535（纸面上的 40001 即保持寄存器 0），且多字数值不得越界。",
        "Addresses run from 0 to 65535 (40001 on paper is holding 0), and a value must end within them.",
    ),
    ("modbus.scale", "比例系数必须是非 0 的有限数值。", "The scale must be finite and not 0."),
    (
        "modbus.unit",
        "该测点的单位是 {unit}，其限值按此单位设置；请先修改测点。",
        "The point's unit is {unit} and its limits are set in it; change the point first.",
    ),
    ("networking.group", "没有分组“{group}”。", "There is no group “{group}”."),
    ("node.above", "该节点在本节点之上，不能作为下级接入。", "That node stands above this one and cannot join below it."),
    ("node.elsewhere", "该数据由“{node}”维护，请在该节点修改。", "This is kept by {node}; change it there."),
    ("node.enterprise_of_region", "只有企业节点才指定企业。", "Only an enterprise's node names an enterprise."),
    (
        "node.fingerprint",
        "指纹与申请接入的节点不一致，请与对方再次核对；若不是本人操作，请拒绝。",
        "The fingerprint is not that of the node that asks; compare again, and refuse it if it is not yours.",
    ),
    ("node.level", "只能邀请低于本节点层级的节点。", "Only a node of a lower level than this one can be invited."),
    (
        "node.link_off",
        "本节点未启用联网，请先在配置中启用 link。",
        "This node takes no part in a network; switch on link in the configuration first.",
    ),
    (
        "node.moving",
        "该数据正在移交给“{node}”，移交完成或撤回之前不能修改。",
        "This is being handed over to {node}; it cannot be changed until that is over or taken back.",
    ),
    ("node.not_child", "只能撤销直接下级节点。", "Only a node directly below this one can be revoked."),
    ("node.not_claimed", "没有节点在等待该邀请的确认。", "No node waits for this invitation to be confirmed."),
    ("node.not_frozen", "该节点未被冻结。", "The node is not frozen."),
    (
        "node.not_neighbour",
        "“{node}”不是直接上级或下级，不能在这里修改。",
        "{node} is not directly above or below; it cannot be changed here.",
    ),
    (
        "node.region_of_enterprise",
        "企业节点不指定区划，其范围就是该企业。",
        "An enterprise's node has no division: it stands for its enterprise.",
    ),
    ("node.territory", "区划不在本节点辖区内。", "The division lies outside this node's territory."),
    (
        "node.thinned",
        "这一天在本节点已抽稀，再取也无法与已让位的读数区分。",
        "This day was thinned here: what came again could not be told from what gave way.",
    ),
    (
        "node.too_many_invitations",
        "未完成的邀请最多 {max} 个，请先删除不用的。",
        "At most {max} invitations may be open; remove those that are not needed.",
    ),
    ("number.not_finite", "必须是有限的数值。", "Must be a finite number."),
    ("number.positive", "必须大于 0。", "Must be above 0."),
    ("number.range", "必须在 {min} 到 {max} 之间。", "Must lie between {min} and {max}."),
    ("order.due_past", "期限不能早于今天。", "The day is over already."),
    (
        "order.field_elsewhere",
        "人员、记录和附件只在本节点有效，不能随交办事项下发，请留空。",
        "People, records and files are known here alone and do not go to another node; leave it empty.",
    ),
    ("order.no_question", "只有询问才能答复。", "Only a question is replied to."),
    ("order.not_below", "请选择您有权交办的下级节点。", "Choose a node below this one."),
    ("order.not_for_us", "该事项不是交办给本节点的。", "This is for another node."),
    ("order.not_ours", "该事项由“{node}”交办，只能由其撤回。", "This was given by {node} and is taken back there."),
    ("order.over", "该事项已办结、已答复或已撤回，请刷新后再看。", "It is settled already; look at it again."),
    ("order.record_of_new", "新建记录时不指定已有记录。", "A new record names no record that is there already."),
    (
        "order.reply_role",
        "您在该单位的角色不能答复，需监管人员、领导或企业安全管理人员。",
        "Your role there does not reply: a supervisor, a leader or a safety manager does.",
    ),
    (
        "order.role",
        "需在该单位或区划有监管人员、执法检查人员或领导的角色。",
        "This needs the role of a supervisor, inspector or leader over what the order is about.",
    ),
    ("order.step_of_question", "询问不指定台账。", "A question names no register."),
    ("order.territory", "所指对象不在“{node}”的管辖范围内。", "What the order is about does not belong to {node}."),
    ("order.to_self", "该对象由本节点管理，请直接办理，无需交办。", "This node keeps it itself: do it here, no order is needed."),
    ("order.too_large", "内容过长，请精简后重试。", "The order is too long; shorten it."),
    ("origin.foreign", "来源页面不属于本系统。", "The page is not of this origin."),
    ("pack.changed", "该包的内容已变化，请重新查看后再启用。", "The pack is another by now; read it again before you switch it on."),
    ("pack.needed", "其他已启用的包依赖它：{wrong}", "Other packs that are on need it: {wrong}"),
    (
        "pack.signature_broken",
        "包的签名与内容不符：签名后有文件被改动，请向发布者重新索取。",
        "The pack is not as it was signed: a file was changed since; get it from its publisher again.",
    ),
    (
        "pack.signer_unknown",
        "包由 {key} 签名，不在信任的公钥之中；确认来源后，由运维人员加入 packs.trusted_keys。",
        "The pack is signed by {key}, which is not trusted here; the operator adds it to packs.trusted_keys once its origin is certain.",
    ),
    ("pack.too_large", "该包过大，不能经联网下发。", "The pack is too large to travel to the nodes below."),
    (
        "pack.unsigned",
        "包没有签名；本节点只启用由 packs.trusted_keys 中的公钥签名的包。",
        "The pack is not signed; this node switches on packs signed by a key of packs.trusted_keys only.",
    ),
    ("pack.wrong", "包有误：{wrong}", "The pack is not sound: {wrong}"),
    ("password.is_username", "密码不能与用户名相同。", "The password must not be the user name."),
    ("password.too_long", "密码最多 {max} 个字符。", "The password has at most {max} characters."),
    ("password.too_short", "密码至少 {min} 个字符。", "The password needs at least {min} characters."),
    ("period.order", "结束时间必须晚于开始时间。", "The end must be later than the beginning."),
    (
        "permission.missing",
        "没有所需权限（{permission}），请联系管理员。",
        "This needs the permission {permission}; ask the administrator.",
    ),
    (
        "place.off_globe",
        "经度须在 −180 到 180、纬度须在 −90 到 90 之间。",
        "Longitude lies within −180 to 180 and latitude within −90 to 90.",
    ),
    ("plan.elsewhere", "没有包括该区划的规划。", "No plan holds this division."),
    ("plan.unknown", "没有这个规划，或规划包未启用。", "There is no such plan, or its pack is off."),
    ("query.unknown", "不认识的查询参数。", "Unknown query parameter."),
    ("range.order", "量程下限必须小于上限。", "The lower end of the range must be below the upper end."),
    ("reference.unknown", "所指对象不存在，或不在您的管辖范围内。", "It names nothing that exists in your territory."),
    (
        "region.ended",
        "行政区划 {region} 自 {since} 起已撤销，请改用现行代码。",
        "The division {region} is gone since {since}; use one in force.",
    ),
    ("region.malformed", "行政区划代码应为 2、4、6、9 或 12 位数字。", "A division code has 2, 4, 6, 9 or 12 digits."),
    ("region.not_yet", "行政区划 {region} 自 {since} 起才生效。", "The division {region} is in force from {since} on, not yet."),
    (
        "region.replaced",
        "行政区划 {region} 已改为 {became}（自 {since} 起），请使用新代码。",
        "The division {region} became {became} on {since}; use the new code.",
    ),
    ("region.unknown", "本节点没有行政区划 {region}。", "This node does not know the division {region}."),
    ("register.content", "无法分级：{says}。", "Cannot be graded: {says_en}."),
    (
        "register.field_file",
        "该附件不存在、不是您上传的，或已属于其他记录，请重新上传。",
        "The file is not there, somebody else uploaded it, or it belongs to another record; upload it again.",
    ),
    ("register.field_locked", "这一步不能填写该字段。", "This step does not set the field."),
    ("register.field_missing", "这一步必须填写该字段。", "This step needs the field."),
    ("register.field_range", "内容不符合要求：应为{allowed}。", "Not what may stand here: {allowed_en}."),
    ("register.field_type", "内容的类型不对：应为{allowed}。", "Not of the field's type: {allowed_en}."),
    ("register.field_unknown", "该台账没有这个字段。", "The register has no such field."),
    ("register.guard", "{says}。", "{says_en}."),
    ("register.key_taken", "已有编码相同的记录。", "Another record has the same code."),
    (
        "register.opened_of_enterprise",
        "这条记录不属于企业，不能生成{kind}：请改为在本记录内跟踪。",
        "This record is no enterprise's, so it opens no {kind_en}: follow it in this record instead.",
    ),
    (
        "register.own_page",
        "这一步在它自己的页面上办理，不能用通用表单。",
        "This step is taken on a page of its own, not with the form of every step.",
    ),
    ("register.owner", "请在 enterprise 与 region 中指定且只指定一个。", "Name exactly one of enterprise and region."),
    (
        "register.owner_enterprise",
        "该台账的记录属于企业，请指定 enterprise。",
        "Records of this register belong to an enterprise; name it in enterprise.",
    ),
    (
        "register.owner_everyone",
        "该台账的记录不属于任何企业或行政区，请不要指定。",
        "Records of this register belong to no enterprise and no division; leave it out.",
    ),
    (
        "register.owner_region",
        "该台账的记录属于行政区，请指定 region。",
        "Records of this register belong to a division; name it in region.",
    ),
    ("register.reference", "没有可选用的这条记录，请重新选择。", "There is no such record that you may name; choose another."),
    (
        "register.reference_not_yet",
        "“{title}”自 {day} 起才生效，不能选用；请改选当日有效的一条。",
        "“{title}” is in force only from {day} on; choose one that is in force on the day.",
    ),
    (
        "register.reference_over",
        "“{title}”自 {day} 起不再有效，不能选用；请改选现行有效的一条。",
        "“{title}” is no longer in force since {day}; choose one that is.",
    ),
    (
        "register.reference_state",
        "“{title}”的状态是“{state}”，不能选用；请改选现行有效的一条。",
        "“{title}” is in the state “{state_en}” and cannot be named; choose one that is in force.",
    ),
    ("register.role", "您在该单位的角色不能办理这一步。", "Your role at this owner does not take this step."),
    ("register.state", "记录当前的状态不能办理这一步，请刷新后再看。", "The record is not in a state for this step; look at it again."),
    ("register.too_deep", "台账互相开启的层数过多。", "Registers open one another too deep."),
    ("register.too_many", "一次最多开启 {most} 条记录，请减少行数。", "One step opens at most {most} records; use fewer rows."),
    ("register.transition_unknown", "该台账没有这一步。", "The register has no such step."),
    ("register.unknown", "没有这个台账，或其所在的包未启用。", "There is no such register, or its pack is off."),
    ("register.unmeant", "数据有误：{says}。", "Cannot be so: {says_en}."),
    ("responsibility.year", "年度须在 {from} 至 {to} 之间。", "The year is from {from} to {to}."),
    ("revision.stale", "内容已被他人修改，请刷新后再改。", "Somebody changed it meanwhile; reload and try again."),
    (
        "rollup.too_long",
        "时间范围过长，最多 {max} 个统计窗口，请缩短或加大步长。",
        "Too many windows (at most {max}); shorten the time or widen the step.",
    ),
    (
        "rollup.too_much",
        "涉及 {points} 个测点，时间范围最长 {max_hours} 小时，请缩短时间或缩小范围。",
        "This is about {points} points: at most {max_hours} hours; shorten the time or ask about fewer.",
    ),
    ("row.not_found", "不存在，或不在您的管辖范围内。", "Nothing there that you may see."),
    ("scope.outside", "超出您的管辖范围。", "Outside your territory."),
    (
        "second_factor.code",
        "验证码不正确，请核对手机时间后填写当前显示的 6 位数字。",
        "Not the code of now; look at the clock of your phone and give the six digits that it shows.",
    ),
    (
        "second_factor.not_begun",
        "没有待开启的两步验证，或已超过十分钟，请重新开始。",
        "Nothing was begun, or more than ten minutes ago; begin again.",
    ),
    ("second_factor.off", "两步验证没有开启。", "There is no second factor to remove."),
    ("second_factor.on", "两步验证已经开启，请先关闭再重新设置。", "A second factor is on; remove it before you set up another."),
    ("second_factor.own", "不能重置自己的两步验证，请用密码和验证码关闭。", "You cannot reset your own; remove it with password and code."),
    ("server.busy", "服务器繁忙，请稍后重试。", "The server is busy; try again later."),
    ("session.idle", "长时间未操作，请重新输入密码后继续。", "You have been idle; enter your password to go on."),
    ("session.none", "请先登录。", "Sign in first."),
    ("setup.done", "系统已经初始化，请直接登录。", "Setup is done; sign in."),
    (
        "setup.token",
        "初始化链接无效或已过期，请在服务器上运行 anlan setup-link 重新生成。",
        "The setup link is wrong or expired; make a new one with anlan setup-link on the server.",
    ),
    ("sheet.bomb", "文件过大，或解压后过大（{reason}）。", "The file is refused: {reason}."),
    ("sheet.column_missing", "表中缺少“{column}”一列，请使用下载的模板。", "The sheet lacks the column {column}; use the template."),
    ("sheet.column_unknown", "表中的“{column}”一列不属于模板，请删除后重试。", "The column {column} is not of the template; remove it."),
    ("sheet.damaged", "文件已损坏，请重新保存后上传（{reason}）。", "The file is refused: {reason}."),
    ("sheet.empty", "表中没有内容（{reason}）。", "The file is refused: {reason}."),
    ("sheet.encrypted", "文件设有密码，请去掉密码后上传（{reason}）。", "The file is refused: {reason}."),
    ("sheet.enterprise_unknown", "没有该编码的企业，或不在您的范围内。", "There is no enterprise of this code that you can see."),
    ("sheet.external_link", "文件引用了其他文件或网址，请断开链接后上传（{reason}）。", "The file is refused: {reason}."),
    ("sheet.formula", "单元格是公式，请粘贴为数值后重试。", "The cell is a formula; paste it as a value."),
    ("sheet.header", "表头有误（{reason}），请使用下载的模板。", "The file is refused: {reason}."),
    ("sheet.macros", "文件含有宏，请另存为不含宏的 .xlsx 后上传（{reason}）。", "The file is refused: {reason}."),
    ("sheet.no_import", "该台账不支持导入。", "Nothing is imported into this register."),
    ("sheet.not_xlsx", "文件不是 XLSX 表格，请另存为 .xlsx 后上传（{reason}）。", "The file is refused: {reason}."),
    ("sheet.place", "经度和纬度须同时填写，且为数字。", "Longitude and latitude come together, as numbers."),
    ("sheet.too_long", "一个文件最多 {most} 行，请缩小范围。", "A file holds at most {most} rows; narrow the list."),
    ("sheet.too_much", "表中内容过多（{reason}），请分成几个文件。", "The file is refused: {reason}."),
    ("sign_in.code_needed", "请填写两步验证的验证码。", "Give the code of your second factor."),
    ("sign_in.code_wrong", "验证码不正确，或已经用过，请等下一个。", "Not the code of now, or used before; wait for the next one."),
    ("sign_in.slow_down", "尝试次数过多，请在 {seconds} 秒后再试。", "Too many tries; wait {seconds} seconds."),
    ("sign_in.wrong", "用户名或密码不正确。", "Wrong user name or password."),
    ("sta.syntax", "第 {at} 个字符处无法读懂，应为：{expected}。", "Character {at} cannot be read; expected: {expected}."),
    ("sta.too_much", "超出上限 {most}：{what}。", "At most {most}: {what}."),
    ("sta.twice", "选项 {option} 出现了两次。", "The option {option} is given twice."),
    ("sta.type", "{function} 不能用于 {given}。", "{function} does not take {given}."),
    ("sta.unknown", "{entity} 没有名为 {name} 的内容。", "{entity} has nothing called {name}."),
    ("sta.unsupported", "不支持：{what}。", "Not supported here: {what}."),
    ("store.busy", "正在等待保存的修改过多，请稍后再试。", "Too many changes wait to be stored; try again in a moment."),
    (
        "store.unavailable",
        "数据库暂时不可用：监测数据仍在接收，暂不能修改或处置。",
        "The database does not answer: readings are still kept, acting must wait.",
    ),
    (
        "submission.changed",
        "该报送映射的内容已变化，请重新查看后再开启。",
        "The mapping is another by now; read it again before you switch it on.",
    ),
    (
        "submission.misfit",
        "该报送映射以{transport}方式报送，与配置中的目标不符：接口报送须配 url，文件报送须配 dir。",
        "The mapping goes by {transport}, and the target in the configuration does not: calls need a url, files a dir.",
    ),
    ("submission.unknown", "没有报送映射 {submission}，或其所在的包未启用。", "There is no mapping {submission}, or its pack is off."),
    ("table.columns", "表格须有 1 至 {max} 列。", "A table has 1 to {max} columns."),
    ("table.ragged", "这一行的单元格数与列数不同。", "This row has more or fewer cells than there are columns."),
    ("table.rows", "一次最多导出 {max} 行，请缩小范围。", "At most {max} rows at a time: narrow the list."),
    ("table.unfit", "不能写成表格文件：{reason}。", "It cannot be written as a workbook: {reason}."),
    ("text.empty", "不能为空。", "Must not be empty."),
    ("text.invisible", "含有不可见的控制字符。", "Holds control or invisible characters."),
    ("text.too_long", "超过长度上限 {max}。", "Longer than {max}."),
    ("time.malformed", "时间应为 RFC 3339 格式，例如 2026-11-23T01:16:22Z。", "Write times as RFC 3339, such as 2026-11-23T01:16:22Z."),
    ("time.order", "截止日不能早于起始日。", "The last day is before the first."),
    ("transfer.broken", "移交的内容无法读取。", "What was handed over cannot be read."),
    (
        "transfer.enterprise_elsewhere",
        "编码为 {code} 的企业在接收节点由别的节点维护，或已并入其他企业。",
        "The enterprise with the code {code} is kept by another node at the target, or was merged into another.",
    ),
    ("transfer.incomplete", "移交的内容没有收全。请重新移交。", "Not all of what was handed over arrived. Hand it over again."),
    (
        "transfer.node",
        "该节点不是本节点的直接下级、不负责该企业，或已冻结、吊销。",
        "That node does not stand directly below this one, does not stand for this enterprise, or is frozen or revoked.",
    ),
    ("transfer.over", "该移交已结束，不能撤回。", "This transfer is over and cannot be taken back."),
    (
        "transfer.register_off",
        "接收节点未启用台账 {register}（记录 {number}）；请先在该节点启用相应规则包。",
        "The register {register} is off at the target (record {number}); switch its pack on there first.",
    ),
    (
        "transfer.state_unknown",
        "接收节点的台账“{register}”没有状态 {state}（记录 {number}）；请先统一规则包版本。",
        "The register {register} at the target has no state {state} (record {number}); bring both to the same edition of the pack first.",
    ),
    (
        "transfer.too_large",
        "该企业的记录超过一次移交的上限（12 MiB）。",
        "This enterprise has more records than are handed over at once (12 MiB).",
    ),
    ("user.last_administrator", "至少要保留一名可以登录的全局管理员。", "At least one administrator of the whole node must remain."),
    ("user.successor", "请选择另一名未停用的人员接手。", "Choose somebody else who may sign in."),
    ("username.malformed", "用户名为 2 到 64 个不含空格的字符。", "A user name has 2 to 64 characters and no spaces."),
    ("value.taken", "已被占用。", "Already taken."),
    (
        "whistleblow.anonymous",
        "举报人没有留下姓名、联系方式或收款信息，没有可以解封的内容。",
        "Whoever reported did not say who they are: there is nothing to open.",
    ),
    ("whistleblow.choice", "请选择列表中的一项。", "Choose one of the list."),
    (
        "whistleblow.closed",
        "具有密钥的举报信息保管人不足两名，暂不能接收举报；请管理员任命保管人，并由其本人生成密钥。",
        "Fewer than two holders have keys, so no report can be taken; an administrator appoints holders, who make their own keys.",
    ),
    ("whistleblow.code", "没有这个回执码，请核对后重新输入。", "There is no such receipt code; check it and try again."),
    (
        "whistleblow.damaged",
        "密封的内容已损坏，无法解封，请告知管理员。",
        "What was sealed is damaged and cannot be opened; tell the administrator.",
    ),
    ("whistleblow.file_large", "有文件超过 {max_mb} MB，请缩小后再传。", "A file is larger than {max_mb} MB; make it smaller."),
    ("whistleblow.files", "一次最多 {max} 个文件。", "At most {max} files at once."),
    (
        "whistleblow.files_full",
        "暂时不能接收文件。请去掉文件后提交，文字照常接收。",
        "Files cannot be taken now. Send it without them; words are taken.",
    ),
    ("whistleblow.form", "表单不完整，请返回重新填写。", "The form did not come whole; go back and fill it in again."),
    (
        "whistleblow.full",
        "这件举报的补充材料已经很多，请打电话或到受理单位说明。",
        "Very much was added to this report already; please call or come to the office.",
    ),
    ("whistleblow.holders_max", "保管人最多 {max} 名。", "There are at most {max} holders."),
    ("whistleblow.no_holder", "您不是举报信息保管人，或者还没有生成密钥。", "You are no holder, or have made no key yet."),
    (
        "whistleblow.no_lock",
        "收到这件举报时，你们两人中有人还没有密钥，请由其他保管人同意。",
        "One of you two had no key when this report came; another holder has to grant it.",
    ),
    ("whistleblow.no_room", "存储空间不足，暂不能接收，请拨打 12350。", "There is no room to keep it; please call 12350."),
    ("whistleblow.oneself", "不能任命自己为保管人。", "Nobody appoints themselves."),
    ("whistleblow.own_question", "自己的申请须由另一名保管人决定。", "Another holder decides on one's own question."),
    ("whistleblow.passphrase", "口令不对。", "The passphrase is wrong."),
    ("whistleblow.passphrase_short", "口令至少 {min} 个字符。", "The passphrase has at least {min} characters."),
    (
        "whistleblow.regulator",
        "保管人须是负责本节点全部辖区的监管人员、检查人员或领导，且不是管理员、没有企业角色。",
        "A holder is a supervisor, inspector or leader of the node’s whole territory, no administrator, of no enterprise.",
    ),
    (
        "whistleblow.sending_large",
        "提交的内容合计超过 {max_mb} MB，请减少文件。",
        "All of it together is more than {max_mb} MB; send fewer files.",
    ),
    ("whistleblow.slow_down", "提交或查询太频繁，请在 {seconds} 秒后重试。", "Too often; try again in {seconds} seconds."),
    (
        "whistleblow.stranger",
        "不是向这个口令的密钥密封的：请用更换密钥以前的口令再解封一次，或请其他保管人解封。",
        "It was not sealed to the key of this passphrase: try the one before, or ask another holder.",
    ),
    ("whistleblow.too_short", "请至少写 {min} 个字。", "Write at least {min} characters."),
    ("window.empty", "结束时间必须晚于开始时间。", "The end of the time must lie after its beginning."),
    ("window.too_long", "时间范围最长 {days} 天，请缩短。", "The time is at most {days} days; shorten it."),
    ("window.too_many", "该时间范围内的定位超过 {most} 条，请缩短时间范围。", "More than {most} positions in this time; shorten it."),
    (
        "word.malformed",
        "只能用小写字母、数字和下划线，并以字母开头。",
        "Lower-case letters, digits and underscores, starting with a letter.",
    ),
    ("word.unknown", "不认识的取值：{word}。", "Unknown value: {word}."),
];

/// The sentence of a code, with its parameters filled in.
pub(crate) fn sentence(code: &str, language: Language, params: &BTreeMap<impl fmt::Display, String>) -> String {
    let Ok(at) = SENTENCES.binary_search_by_key(&code, |(code, _, _)| code) else { return code.to_owned() };
    let (_, chinese, english) = SENTENCES[at];
    let mut text = match language {
        Language::Chinese => chinese,
        Language::English => english,
    }
    .to_owned();
    for (name, value) in params {
        text = text.replace(&format!("{{{name}}}"), value);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_complete() {
        assert!(SENTENCES.is_sorted_by(|a, b| a.0 < b.0), "binary search needs the order");
        for (code, chinese, english) in SENTENCES {
            assert!(!chinese.is_empty() && !english.is_empty(), "{code}");
            // What is said in words comes in both languages: {says} and {says_en}.
            let name = |t: &str| t.split('}').next().map(|name| name.trim_end_matches("_en").to_owned());
            let names = |text: &str| text.split('{').skip(1).filter_map(name).collect::<Vec<_>>();
            assert_eq!(names(chinese), names(english), "{code}: both languages say the same");
        }
    }

    #[test]
    fn every_code_in_the_sources_has_a_sentence() {
        // Refusals are made by these constructors only, with the code as a literal.
        let makers = ["invalid(\"", "forbidden(\"", "unauthorized(\"", "conflict(\"", "too_large(\"", ", \""];
        let mut missing = Vec::new();
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        for dir in ["src", "src/routes", "../app/src"] {
            for file in std::fs::read_dir(root.join(dir)).unwrap().flatten().filter(|f| f.path().extension().is_some_and(|e| e == "rs")) {
                let text = std::fs::read_to_string(file.path()).unwrap();
                for line in text.lines().filter(|l| l.contains("AppError::")) {
                    for maker in makers {
                        for rest in line.split(maker).skip(1) {
                            let code = rest.split('"').next().unwrap_or_default();
                            let shaped = code.contains('.') && !code.contains([' ', '[', '{']) && !line.contains(&format!("on(\"{code}"));
                            let field = line.contains(&format!(", \"{code}\")")) && maker == ", \"";
                            if shaped && !field && SENTENCES.binary_search_by_key(&code, |(c, _, _)| c).is_err() {
                                missing.push(code.to_owned());
                            }
                        }
                    }
                }
            }
        }
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn parameters_are_filled_in() {
        let params = BTreeMap::from([("seconds", "8".to_owned())]);
        assert_eq!(sentence("sign_in.slow_down", Language::English, &params), "Too many tries; wait 8 seconds.");
        assert_eq!(sentence("no.such", Language::Chinese, &params), "no.such");
    }
}
