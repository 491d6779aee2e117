//! A licence or certificate is checked by its code, as the console's page `/verify` does, without a script.

use anlan_app::certificate::{self, Standing, Verified};
use anlan_app::error::{AppError, Kind as Refusal};
use anlan_domain::register::certificate::Said;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use maud::{Markup, html};

use super::record::{answer, named};
use super::words::{self, Word};
use super::{Section, Site};
use crate::Shared;
use crate::extract::Peer;

pub(super) const PATH: &str = "/public/licences";
/// Longer than any code; more is cut off before it is shown again.
const CODE_CHARS: usize = 1_000;

pub(super) fn router() -> Router<Shared> {
    Router::new().route(PATH, get(ask).post(check))
}

fn form(site: &Site, code: &str, fault: Option<&str>) -> Markup {
    html! {
        p.hint { (site.say(words::LICENCES_HOW)) }
        form method="post" action=(site.to(PATH)) {
            label for="code" { (site.say(words::CODE)) }
            @if let Some(fault) = fault { p.fault #fault { (fault) } }
            textarea #code name="code" required autocomplete="off" spellcheck="false" aria-invalid=[fault.map(|_| "true")] aria-describedby=[fault.map(|_| "fault")] { (code) }
            button { (site.say(words::CHECK)) }
        }
    }
}

async fn ask(site: Site) -> Response {
    site.page(Section::Licences, site.say(words::LICENCES), &form(&site, "", None))
}

async fn check(site: Site, State(shared): State<Shared>, Peer(peer): Peer, body: Bytes) -> Response {
    let field = form_urlencoded::parse(&body).find(|(name, _)| name == "code");
    let code: String = field.map(|(_, code)| code.chars().take(CODE_CHARS).collect()).unwrap_or_default();
    let page = match certificate::verify(&shared.app, &code, &peer.to_string()).await {
        Ok(verified) => Ok(site.page(Section::Licences, site.say(words::CHECKED), &told(&site, &shared, verified))),
        Err(failure) if failure.kind == Refusal::Invalid => {
            let mut page = site.page(Section::Licences, site.say(words::LICENCES), &form(&site, &code, Some(site.say(words::NO_CODE))));
            *page.status_mut() = StatusCode::BAD_REQUEST;
            Ok(page)
        }
        Err(failure) => Err::<Response, AppError>(failure),
    };
    answer(&site, Section::Licences, page)
}

fn told(site: &Site, shared: &Shared, verified: Verified) -> Markup {
    let bad = |word: Word| html! { div.problem role="alert" { p { "✕ " (site.say(word)) } } };
    let answer = match verified {
        Verified::Forged => bad(words::FORGED),
        Verified::Stranger { key } => html! { (bad(words::STRANGER)) p.hint { (key) } },
        Verified::Good { said, standing, .. } => html! {
            @match &standing {
                Standing::InForce => { div.done { p { "✓ " (site.say(words::GOOD)) } } },
                Standing::Changed => { (bad(words::CHANGED)) },
                Standing::Over => { (bad(words::CERTIFICATE_OVER)) },
                Standing::NotInForce(name, name_en) => { (bad(words::NOT_IN_FORCE)) p { strong { (named(site, name, name_en)) } } },
                Standing::Unknown => { (bad(words::UNKNOWN)) },
            }
            (says(site, shared, &said))
        },
    };
    html! { (answer) p { a.more href=(site.to(PATH)) { (site.say(words::CHECK_ANOTHER)) } } }
}

/// What stands on it, names of fields as the register has them.
fn says(site: &Site, shared: &Shared, said: &Said) -> Markup {
    let kind = shared.app.registers.load().kind(&said.kind).ok();
    let name = |id: &str| match kind.as_ref().and_then(|kind| kind.field(id)) {
        Some(field) => named(site, &field.name, &field.name_en).to_owned(),
        None => id.to_owned(),
    };
    html! {
        section {
            @if let Some(kind) = &kind { h2 { (named(site, &kind.name, &kind.name_en)) } }
            dl {
                dt { (site.say(words::OWNER)) } dd { (said.owner.text) @if said.owner.is_cut { "…" } }
                @if !said.code.is_empty() { dt { (site.say(words::OWNER_CODE)) } dd { (said.code) } }
                @if !said.number.is_empty() { dt { (site.say(words::NUMBER)) } dd { (said.number) } }
                @for (id, text) in &said.fields { dt { (name(id)) } dd { (text.text) @if text.is_cut { "…" } } }
            }
        }
    }
}
