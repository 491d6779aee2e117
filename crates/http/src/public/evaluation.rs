//! How a plan stands, as a published notice says it: targets by state with their reasons, as of the notice's day. Rows of facts stay inside.

use std::sync::{Arc, LazyLock};

use anlan_app::error::{AppError, Kind as Refusal};
use anlan_app::public::{self, NOTICE};
use anlan_app::validate::Paging;
use anlan_domain::indicator::Indicators;
use anlan_domain::plan::{Direction, Reason, State as Stands, TargetStatus};
use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use maud::{Markup, html};
use tokio::sync::Semaphore;

use super::record::{answer, id, named, rows};
use super::words::{self, Word};
use super::{Section, Site};
use crate::Shared;
use crate::messages::Language;

const PATH: &str = "/public/plans";
/// Notices that are looked through for evaluations.
const NOTICES_MAX: u32 = 500;
/// Evaluations that are reckoned at the same time: strangers ask for them, and each takes some 10 ms of a core.
static TURNS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(1)));

pub(super) fn router() -> Router<Shared> {
    Router::new().route(PATH, get(list)).route("/public/plans/{id}", get(one))
}

async fn list(site: Site, State(shared): State<Shared>) -> Response {
    let page = async {
        let mut all = public::list(&shared.app, NOTICE, &Paging { cursor: None, limit: NOTICES_MAX }).await?.items;
        all.retain(|notice| notice.text("plan").is_some());
        all.truncate(60);
        let body = html! { p.hint { (site.say(words::PLANS_ABOUT)) } (rows(&site, PATH, &all)) };
        Ok(site.page(Section::Plans, site.say(words::PLANS), &body))
    };
    let page = page.await;
    answer(&site, Section::Plans, page)
}

async fn one(site: Site, State(shared): State<Shared>, Path(name): Path<String>) -> Response {
    let page = async {
        let notice = public::one(&shared.app, NOTICE, id(&name)?).await?;
        let turn = TURNS.clone().acquire_owned().await;
        let (reckoning, day) = public::evaluation(&shared.app, &notice).await?.ok_or_else(AppError::not_found)?;
        let seen = Site { path: site.path.clone(), place: site.place.clone(), ..site };
        let made = tokio::task::spawn_blocking(move || {
            // Whoever hangs up leaves the work behind: it keeps the turn until it is done.
            let _turn = turn;
            let indicators = &reckoning.known.indicators;
            let statuses = reckoning.plan.status(indicators, &reckoning.facts, day);
            let body = html! {
                p { span lang=[seen.lang_of(&reckoning.plan.name)] { (reckoning.plan.name) } " · " (seen.say(words::AS_OF)) (day) }
                @if reckoning.is_demonstration { p.demo { (seen.say(words::DEMO)) } }
                p { a.more href=(seen.to(&format!("/public/notices/{}", notice.row.id))) { (seen.say(words::THE_NOTICE)) } }
                (targets(&seen, &statuses, indicators))
            };
            seen.page(Section::Plans, notice.title(), &body)
        });
        made.await.map_err(|e| AppError { source: Some(e.into()), ..AppError::new(Refusal::Internal, "internal") })
    };
    let page = page.await;
    answer(&site, Section::Plans, page)
}

const fn word(state: Stands) -> Word {
    match state {
        Stands::Met => words::MET,
        Stands::OnPath => words::ON_PATH,
        Stands::OffPath => words::OFF_PATH,
        Stands::Missed => words::MISSED,
        Stands::CannotBeComputed => words::NOT_EVALUATED,
    }
}

fn targets(site: &Site, statuses: &[TargetStatus<'_>], indicators: &Indicators) -> Markup {
    let of = |state: Stands| statuses.iter().filter(move |status| status.state == state);
    html! {
        section {
            dl { @for state in Stands::ALL { dt { (site.say(word(state))) } dd { (of(state).count()) } } }
            p.hint { (site.say(words::NOT_EVALUATED_WHY)) }
        }
        @for state in Stands::ALL.into_iter().filter(|state| *state != Stands::CannotBeComputed) {
            @if of(state).next().is_some() {
                h2 { (site.say(word(state))) }
                ul.cards { @for status in of(state) { li { (target(site, status, indicators)) } } }
            }
        }
    }
}

fn target(site: &Site, status: &TargetStatus<'_>, indicators: &Indicators) -> Markup {
    let indicator = status.target.indicator.as_ref().and_then(|id| indicators.get(id));
    let unit = indicator.map_or("", |indicator| if site.language == Language::Chinese { &indicator.unit_zh } else { &indicator.unit });
    let sign = match status.target.direction {
        Direction::AtMost => "≤ ",
        Direction::AtLeast => "≥ ",
        _ => "",
    };
    html! {
        strong { (named(site, &status.target.name, &status.target.name_en)) }
        dl {
            dt { (site.say(words::ASKED)) } dd { @if let Some(goal) = &status.goal_value { (sign) (goal.normalize()) " " (unit) " · " } (status.goal.deadline) }
            @if let Some(figure) = &status.figure { dt { (site.say(words::REACHED)) } dd { (figure.shown) " " (unit) } }
            dt { (site.say(words::WHY)) } dd { (why(site, &status.reason, indicators)) }
        }
    }
}

/// Why, as a sentence; what is missing is not said of what is not evaluated.
fn why(site: &Site, reason: &Reason, indicators: &Indicators) -> String {
    let is_chinese = site.language == Language::Chinese;
    let say = |word: Word| site.say(word).to_owned();
    match reason {
        Reason::Reached => say(words::REASON_REACHED),
        Reason::ReachedSoFar => say(words::REASON_REACHED_SO_FAR),
        Reason::ReachedLate => say(words::REASON_REACHED_LATE),
        Reason::NotReached => say(words::REASON_NOT_REACHED),
        Reason::WithinPath(value, on) if is_chinese => format!("至 {on} 应为 {}，符合", value.normalize()),
        Reason::WithinPath(value, on) => format!("{} asked by {on}: within", value.normalize()),
        Reason::BeyondPath(value, on) if is_chinese => format!("至 {on} 应为 {}，不符合", value.normalize()),
        Reason::BeyondPath(value, on) => format!("{} asked by {on}: beyond", value.normalize()),
        Reason::RightWay => say(words::REASON_RIGHT_WAY),
        Reason::WrongWay(id, year) => {
            let name = indicators.get(id).map_or(id.as_str(), |indicator| named(site, &indicator.name, &indicator.name_en));
            if is_chinese { format!("{year} 年{name}方向不符") } else { format!("{name} went the other way in {year}") }
        }
        Reason::Found => say(words::REASON_FOUND),
        Reason::FoundNot => say(words::REASON_FOUND_NOT),
        Reason::NotBegun => say(words::REASON_NOT_BEGUN),
        Reason::NotDue => say(words::REASON_NOT_DUE),
        Reason::NoBaseline | Reason::BaseIsZero | Reason::NoFinding | Reason::Missing(_) => say(words::NOT_EVALUATED),
    }
}
