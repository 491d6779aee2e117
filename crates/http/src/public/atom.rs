//! Atom 1.0 (RFC 4287) of what was published, and the feed of notices.

use anlan_app::public::{self, NOTICE, Published};
use anlan_app::validate::Paging;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use maud::{PreEscaped, html};

use super::record::answer;
use super::words;
use super::{Section, Site};
use crate::Shared;

/// Notices of the feed: with the longest summaries it stays below 100 KB.
const ENTRIES: u32 = 40;
/// Characters of a summary.
const SUMMARY_CHARS: usize = 200;

pub(super) fn router() -> Router<Shared> {
    Router::new().route("/public/notices.atom", get(notices))
}

/// One entry.
pub(super) struct Entry<'a> {
    pub(super) record: &'a Published,
    pub(super) title: String,
    pub(super) summary: String,
    /// May be empty.
    pub(super) category: String,
    /// Of its page.
    pub(super) path: String,
    /// The same in another form: address and media type.
    pub(super) other: Option<(String, &'static str)>,
}

async fn notices(site: Site, State(shared): State<Shared>) -> Response {
    let page = async {
        let page = public::list(&shared.app, NOTICE, &Paging { cursor: None, limit: ENTRIES }).await?;
        let entries = page.items.iter().map(|it| {
            let retracted = || format!("[{}] {}", site.say(words::RETRACTED), it.row.number);
            Entry {
                record: it,
                title: if it.row.is_retracted { retracted() } else { it.title().to_owned() },
                summary: it.reason().or_else(|| it.text("text")).unwrap_or_default().to_owned(),
                category: it.text("category").unwrap_or(&it.row.state).to_owned(),
                path: format!("/public/notices/{}", it.row.id),
                other: None,
            }
        });
        Ok(feed(&site, &shared, site.say(words::NOTICES), "/public/notices.atom", "/public/notices", entries))
    };
    let page = page.await;
    answer(&site, Section::Notices, page)
}

/// A feed; its addresses are relative to its own.
pub(super) fn feed<'a>(
    site: &Site,
    shared: &Shared,
    title: &str,
    own: &str,
    page: &str,
    entries: impl Iterator<Item = Entry<'a>>,
) -> Response {
    // RFC 4151: a name for good, of the node's division and the record.
    let tag = |rest: &str| format!("tag:anlan,2026:{}/{rest}", shared.app.settings.region);
    let mut updated = None;
    let mut all = Vec::new();
    for entry in entries {
        let row = &entry.record.row;
        updated = updated.max(Some(row.updated_at));
        let summary: String = entry.summary.chars().take(SUMMARY_CHARS).collect();
        all.push(html! {
            entry {
                id { (tag(&format!("{}/{}", entry.record.kind.id, row.id))) }
                title { (entry.title) }
                updated { (row.updated_at) }
                link rel="alternate" type="text/html" href=(entry.path) {}
                @if let Some((path, kind)) = &entry.other { link rel="related" type=(kind) href=(path) {} }
                @if !entry.category.is_empty() { category term=(entry.category) {} }
                summary { (summary) }
            }
        });
    }
    let document = html! {
        (PreEscaped("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"))
        feed xmlns="http://www.w3.org/2005/Atom" xml:lang=(site.language.tag()) {
            id { (tag(own.trim_start_matches("/public/"))) }
            title { (site.place) " " (title) @if site.is_demo { " (" (site.say(words::DEMO)) ")" } }
            updated { (updated.unwrap_or_else(|| { use anlan_model::Clock as _; shared.app.clock.now() })) }
            author { name { (site.place) (site.say(words::SITE)) } }
            link rel="self" type="application/atom+xml" href=(own) {}
            link rel="alternate" type="text/html" href=(page) {}
            @for entry in all { (entry) }
        }
    };
    let mut response = document.into_string().into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/atom+xml; charset=utf-8"));
    response
}
