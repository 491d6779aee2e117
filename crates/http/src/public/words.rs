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
