//! What the public site says, Chinese first. A word here is a constant, so that none can be missing.

use crate::messages::Language;

/// One text in both languages.
#[derive(Clone, Copy)]
pub(crate) struct Word(&'static str, &'static str);

impl Word {
    /// The text.
    pub(crate) const fn in_language(self, language: Language) -> &'static str {
        match language {
            Language::Chinese => self.0,
            Language::English => self.1,
        }
    }
}

/// A text with a number in it.
pub(crate) fn numbered(site: &super::Site, word: Word, n: usize) -> String {
    site.say(word).replace("{n}", &n.to_string())
}

// ---- what is published

pub(crate) const WARNINGS: Word = Word("预警信息", "Warnings");
pub(crate) const WARNINGS_ABOUT: Word =
    Word("正在生效和最近结束的预警，以及应当怎么做。", "Warnings in force and lately over, and what to do.");
pub(crate) const NOTICES: Word = Word("信息公开", "Notices");
pub(crate) const NOTICES_ABOUT: Word =
    Word("通知公告、通报、新闻发布、政策法规。", "Announcements, circulars, press releases, policy and law.");
pub(crate) const LISTED: Word = Word("挂牌督办", "Listed supervision");
pub(crate) const LISTED_ABOUT: Word =
    Word("正在督办和已经摘牌的重大事故隐患。", "Major hidden dangers under listed supervision, and those delisted.");
pub(crate) const LICENCES: Word = Word("证照查验", "Check a certificate");
pub(crate) const LICENCES_ABOUT: Word = Word("查验许可证、证书是否真实、有效。", "Is a licence or certificate genuine and in force?");
pub(crate) const LICENCES_HOW: Word = Word(
    "用手机扫描证书上的二维码，把得到的文字（以 AL1. 开头）粘贴到这里。",
    "Scan the QR code of the certificate and paste the text that it holds here; it begins with AL1.",
);
pub(crate) const PLANS: Word = Word("规划评估", "Plan evaluation");
pub(crate) const PLANS_ABOUT: Word =
    Word("已经公布的规划评估：各目标的状态和理由。", "Evaluations that were published: how each target stands, and why.");
pub(crate) const ACTIVITIES: Word = Word("宣传教育", "Publicity");
pub(crate) const ACTIVITIES_ABOUT: Word = Word("安全生产月、安全文化进企业进社区等活动。", "Work safety month and other activities.");
pub(crate) const FEED: Word = Word("订阅（Atom）", "Subscribe (Atom)");
pub(crate) const OLDER: Word = Word("更早的", "Older ones");
pub(crate) const NOTHING: Word = Word("目前没有公开的内容。", "Nothing is published at present.");
pub(crate) const NUMBER: Word = Word("编号", "Number");
pub(crate) const STATE: Word = Word("状态", "State");
pub(crate) const OWNER: Word = Word("单位", "Enterprise or body");
pub(crate) const OWNER_CODE: Word = Word("统一社会信用代码", "Code of the enterprise");
pub(crate) const REGION: Word = Word("行政区域", "Division");
pub(crate) const BASIS: Word = Word("公开依据：", "Public by: ");
pub(crate) const TABLE: Word = Word("表格", "Table");
pub(crate) const RETRACTED: Word = Word("撤回", "Retracted");
pub(crate) const RETRACTED_WHAT: Word = Word("这条信息已经撤回，正文不再公开。", "This was retracted; its text is no longer public.");
pub(crate) const RETRACTED_ON: Word = Word("撤回日期", "Retracted on");
pub(crate) const RETRACTED_WHY: Word = Word("撤回原因", "Why");
pub(crate) const IN_FORCE: Word = Word("生效中", "In force");
pub(crate) const SUPERSEDED: Word = Word("已更新", "Superseded");
pub(crate) const CANCELLED: Word = Word("已解除", "Cancelled");
pub(crate) const OVER: Word = Word("已失效", "Over");
pub(crate) const LATELY_OVER: Word = Word("最近结束", "Lately over");
pub(crate) const IN_FORCE_N: Word = Word("生效中的预警共 {n} 条", "{n} warnings are in force");
pub(crate) const IN_FORCE_CUT: Word =
    Word("生效中的预警超过 {n} 条，这里只列出最新的 {n} 条。", "More than {n} warnings are in force; the newest {n} are listed here.");
pub(crate) const LATELY_MORE: Word = Word("更早结束的见订阅。", "Those that ended before are in the feed.");
pub(crate) const NO_WARNING: Word = Word("目前没有生效的预警。", "No warning is in force.");
pub(crate) const WHAT_TO_DO: Word = Word("应当怎么做", "What to do");
pub(crate) const WHAT_HAPPENS: Word = Word("情况说明", "What happens");
pub(crate) const UPDATES: Word = Word("代替了：", "Takes the place of: ");
pub(crate) const AS_CAP: Word = Word("CAP 1.2 格式", "As CAP 1.2");
pub(crate) const CODE: Word = Word("证书文字", "Text of the certificate");
pub(crate) const CHECK: Word = Word("查验", "Check");
pub(crate) const CHECKED: Word = Word("查验结果", "Result");
pub(crate) const CHECK_ANOTHER: Word = Word("再查一个", "Check another one");
pub(crate) const NO_CODE: Word =
    Word("这不是证书的文字：请完整粘贴以 AL1. 开头的一行。", "This is no text of a certificate: paste the whole of it, from AL1. on.");
pub(crate) const GOOD: Word = Word("证书真实，目前有效。", "It is genuine and in force.");
pub(crate) const FORGED: Word =
    Word("签名不符：证书不是本单位签发的，或者被改动过。", "The signature does not fit: it was not issued here, or was altered.");
pub(crate) const STRANGER: Word =
    Word("不是本系统签发的证书，请到签发单位查验。", "It was not issued here; ask the authority that issued it.");
pub(crate) const CHANGED: Word = Word("证书真实，但内容已经变更，请以新证书为准。", "It is genuine, but another one took its place.");
pub(crate) const CERTIFICATE_OVER: Word = Word("证书真实，但有效期已满。", "It is genuine, but its time is over.");
pub(crate) const NOT_IN_FORCE: Word = Word("证书真实，但目前无效，状态为：", "It is genuine, but not in force; its state is:");
pub(crate) const UNKNOWN: Word = Word("证书真实，但已经查不到这条记录。", "It is genuine, but its record is no longer there.");
pub(crate) const AS_OF: Word = Word("截至 ", "as of ");
pub(crate) const RECKONED_ON: Word = Word("计算于 ", "reckoned on ");
pub(crate) const THE_NOTICE: Word = Word("查看公布的全文", "Read the notice");
pub(crate) const PLAN_TARGETS: Word = Word("查看各目标的状态", "How each target stands");
pub(crate) const ASKED: Word = Word("要求、期限", "Asked, by when");
pub(crate) const REACHED: Word = Word("实际", "Figure");
pub(crate) const WHY: Word = Word("理由", "Why");
pub(crate) const MET: Word = Word("已完成", "Met");
pub(crate) const ON_PATH: Word = Word("按进度", "On path");
pub(crate) const OFF_PATH: Word = Word("落后", "Off path");
pub(crate) const MISSED: Word = Word("未完成", "Missed");
pub(crate) const NOT_EVALUATED: Word = Word("未能评估", "Could not be evaluated");
pub(crate) const NOT_EVALUATED_WHY: Word = Word(
    "未能评估的目标缺少数据或者人工认定，这里只计数，不列出。",
    "Targets that could not be evaluated lack data or a finding; they are counted here and not listed.",
);
pub(crate) const REASON_REACHED: Word = Word("达到目标", "reaches the goal");
pub(crate) const REASON_REACHED_SO_FAR: Word = Word("目前达到，以期限为准", "so far; the deadline decides");
pub(crate) const REASON_REACHED_LATE: Word = Word("期限之后才达到", "reached after the deadline");
pub(crate) const REASON_NOT_REACHED: Word = Word("期限已到，没有达到", "the deadline is over");
pub(crate) const REASON_RIGHT_WAY: Word = Word("方向符合", "goes the way that is asked");
pub(crate) const REASON_FOUND: Word = Word("经认定已做到", "a person found that it is so");
pub(crate) const REASON_FOUND_NOT: Word = Word("经认定没有做到", "a person found that it is not");
pub(crate) const REASON_NOT_BEGUN: Word = Word("规划尚未开始", "the plan has not begun");
pub(crate) const REASON_NOT_DUE: Word = Word("未到期，尚无可比的年度目标或新数", "not due, and no path or newer figure to compare");

// ---- the frame

pub(crate) const SITE: Word = Word("安全生产公众服务", "Work safety: for the public");
pub(crate) const SKIP: Word = Word("跳到正文", "Skip to the text");
pub(crate) const NAVIGATION: Word = Word("网站导航", "Site");
pub(crate) const OTHER_LANGUAGE: Word = Word("English", "中文");
pub(crate) const DEMO: Word = Word("演示数据，均为虚构。", "Demonstration: everything here is invented.");
pub(crate) const HOTLINE: Word = Word(
    "安全生产举报投诉特服电话 12350；有人受伤或有火情、险情，请先拨打 110、119、120。",
    "Telephone for reports on work safety: 12350. If somebody is hurt or in danger, call 110, 119 or 120 first.",
);
pub(crate) const NO_TRACE: Word = Word(
    "本网站不使用脚本和 Cookie，不记录访问者的地址和浏览器。",
    "This site uses no scripts and no cookies, and keeps no record of addresses or browsers.",
);
pub(crate) const NOT_DONE: Word = Word("没有办成", "It was not done");
pub(crate) const MISSING: Word = Word("没有这个页面", "There is no such page");
pub(crate) const MISSING_WHY: Word = Word("地址有误，或者内容没有公开。", "The address is wrong, or what was there is not public.");
pub(crate) const HOME: Word = Word("首页", "Home");
pub(crate) const HOME_TITLE: Word = Word("您可以在这里办理", "What you can do here");
pub(crate) const REPORT: Word = Word("我要举报", "Report a violation");
pub(crate) const REPORT_ABOUT: Word = Word(
    "举报事故隐患和违法行为。姓名、联系方式和内容先加密，再保存。",
    "Report hazards and violations. Your name, contact and words are sealed before they are stored.",
);

// ---- reports of violations

pub(crate) const FOLLOW: Word = Word("查询我的举报", "Follow my report");
pub(crate) const FOLLOW_ABOUT: Word =
    Word("用回执码查看办理进度、回答提问、补充材料。", "See how far it is, answer questions, add to it, with your receipt code.");
pub(crate) const CLOSED: Word = Word("网上举报暂未开通", "Reports cannot be taken here now");
pub(crate) const CLOSED_WHY: Word = Word(
    "本单位还没有两名以上的举报信息保管人，网上提交的内容无法安全封存。请拨打 12350 举报。",
    "There are not two holders yet to whom a report could be sealed. Please call 12350.",
);
pub(crate) const REPORT_INTRO: Word = Word(
    "您写下的一切在保存之前先加密：内容由一名保管人解封筛查；您的姓名、联系方式和收款信息须两名保管人先后同意才能解封，每次解封都留下记录。可以匿名。",
    "Everything you write is sealed before it is stored: one holder opens the words to screen them; your name, contact and payee take two holders together, and each opening is on record. You may stay anonymous.",
);
pub(crate) const REPORT_SAFE: Word = Word(
    "请不要用单位的网络和设备举报；照片里不要拍到自己。",
    "Do not use your employer's network or devices, and do not be in your own pictures.",
);
pub(crate) const WHAT_LEGEND: Word = Word("举报什么", "What you report");
pub(crate) const TOPIC: Word = Word("类别", "About");
pub(crate) const WHERE: Word = Word("发生在哪里（县、区）", "In which county or district");
pub(crate) const REGION_CHOOSE: Word = Word("请选择", "Choose");
pub(crate) const UNIT: Word = Word("单位或个人（选填）", "Enterprise or person (optional)");
pub(crate) const PLACE: Word = Word("具体地点（选填）", "Exact place (optional)");
pub(crate) const WHEN: Word = Word("时间、频次（选填）", "Since when, how often (optional)");
pub(crate) const WHAT: Word = Word("情况说明", "What is wrong");
pub(crate) const WHAT_HINT: Word = Word("至少 5 个字，最多 4000 个字。", "5 to 4,000 characters.");
pub(crate) const FILES: Word = Word("照片、视频、文件（选填）", "Pictures, videos, files (optional)");
pub(crate) const FILES_HINT: Word = Word(
    "最多 5 个，每个不超过 8 MB，合计不超过 20 MB。文件也会加密保存。",
    "At most 5, each at most 8 MB, together at most 20 MB. They are sealed too.",
);
pub(crate) const FILES_AGAIN: Word = Word("文件需要重新选择。", "Please choose the files again.");
pub(crate) const WHO_LEGEND: Word = Word("您是谁（选填，另行加密）", "Who you are (optional, sealed apart)");
pub(crate) const NAME: Word = Word("姓名", "Name");
pub(crate) const CONTACT: Word = Word("联系方式", "How to reach you");
pub(crate) const PAYEE: Word = Word("奖金收款人和账号（以后也可以补）", "To whom a reward is paid (may be added later)");
pub(crate) const WHO_HINT: Word = Word(
    "不留姓名也可以举报，凭回执码可以回答提问；领取奖励需要收款信息。",
    "You need not say: with the receipt code you can answer questions. A reward needs a payee.",
);
pub(crate) const CHANNEL_LEGEND: Word = Word("谁在填写", "Who fills this in");
pub(crate) const SEND: Word = Word("提交举报", "Send the report");
pub(crate) const FAULTS: Word = Word("还没有提交，请改正以下各项：", "Nothing was sent yet. Please mend this:");
pub(crate) const RECEIVED: Word = Word("已收到您的举报", "Your report was received");
pub(crate) const RECEIPT_CODE: Word = Word("回执码", "Receipt code");
pub(crate) const CODE_ONCE: Word = Word(
    "请现在抄下或截图保存。回执码只显示这一次，遗失后无法找回，工作人员也查不到。",
    "Write it down now. It is shown this once; nobody can find it again, neither can we.",
);
pub(crate) const CAME_BEFORE: Word = Word(
    "这份举报此前已经收到，没有重复登记，回执码与第一次相同。",
    "This very report had arrived before and was not taken down twice. Its receipt code is the one of the first time.",
);
pub(crate) const CODE_HINT: Word = Word("16 位字母和数字，不分大小写。", "16 letters and digits, small or capital.");
pub(crate) const LOOK: Word = Word("查询", "Look");
pub(crate) const HANDLED: Word = Word("办理状态", "State");
pub(crate) const RECEIVED_ON: Word = Word("收到日期", "Received on");
pub(crate) const HANDLE_BY: Word = Word("办结期限", "To be done by");
pub(crate) const QUESTION: Word = Word("工作人员向您提问", "You are asked");
pub(crate) const REJECTED: Word = Word("不予受理的理由", "Why it is not taken up");
pub(crate) const REPLY: Word = Word("办理答复", "The answer");
pub(crate) const REWARD: Word = Word("批准的奖励（元）", "Reward that was approved (yuan)");
pub(crate) const REWARD_HOW: Word = Word(
    "如未留收款信息，请在下面补充收款人和账号；也可以持回执码到受理单位领取。",
    "If you left no payee, add one below, or come to the office with your receipt code.",
);
pub(crate) const PAID_ON: Word = Word("奖励发放日期", "Reward paid on");
pub(crate) const SENDINGS: Word = Word("您提交的次数", "Times you sent something");
pub(crate) const MORE_LEGEND: Word = Word("回答提问、补充材料", "Answer, or add to it");
pub(crate) const MORE_WHAT: Word = Word("要补充的内容", "What you want to add");
pub(crate) const MORE_SEND: Word = Word("提交补充", "Send it");
pub(crate) const MORE_DONE: Word = Word("补充材料已收到", "It was received");
pub(crate) const BACK_TO_STATE: Word = Word("返回办理进度", "Back to the state");
