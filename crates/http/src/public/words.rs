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
