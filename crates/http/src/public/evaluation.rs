//! How a plan stood when a notice published that: targets by state with their reasons, as of the notice's day. Rows of facts stay inside.
//!
//! What is shown was reckoned and kept with the act that published it ([`anlan_app::public::Evaluation`]); a visit reckons nothing.

use anlan_app::error::AppError;
use anlan_app::public::{self, Evaluated, Evaluation, NOTICE};
use anlan_app::validate::Paging;
use anlan_domain::plan::State as Stands;
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::get;
use maud::{Markup, html};

use super::record::{After, ROWS, answer, encoded, id, named, rows};
use super::words::{self, Word};
use super::{Section, Site};
use crate::Shared;
use crate::messages::Language;

const PATH: &str = "/public/plans";

pub(super) fn router() -> Router<Shared> {
    Router::new().route(PATH, get(list)).route("/public/plans/{id}", get(one))
}

async fn list(site: Site, State(shared): State<Shared>, Query(after): Query<After>) -> Response {
    let page = async {
        let page = public::evaluations(&shared.app, &Paging { cursor: after.after, limit: ROWS }).await?;
        let body = html! {
            p.hint { (site.say(words::PLANS_ABOUT)) }
            (rows(&site, PATH, &page.items))
            @if let Some(next) = &page.next {
                p { a.more rel="next" href=(site.to(&format!("{PATH}?after={}", encoded(next)))) { (site.say(words::OLDER)) } }
            }
        };
        Ok(site.page(Section::Plans, site.say(words::PLANS), &body))
    };
    let page = page.await;
    answer(&site, Section::Plans, page)
}

async fn one(site: Site, State(shared): State<Shared>, Path(name): Path<String>) -> Response {
    let page = async {
        let notice = public::one(&shared.app, NOTICE, id(&name)?).await?;
        let kept = public::evaluation(&shared.app, &notice).await?.ok_or_else(AppError::not_found)?;
        let body = html! {
            p { span lang=[site.lang_of(&kept.name)] { (kept.name) } " · " (site.say(words::AS_OF)) (kept.as_of) " · " (site.say(words::RECKONED_ON)) (kept.reckoned_on) }
            @if kept.is_demonstration { p.demo { (site.say(words::DEMO)) } }
            p { a.more href=(site.to(&format!("/public/notices/{}", notice.row.id))) { (site.say(words::THE_NOTICE)) } }
            (targets(&site, &kept))
        };
        Ok(site.page(Section::Plans, notice.title(), &body))
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

fn targets(site: &Site, kept: &Evaluation) -> Markup {
    let of = |state: Stands| kept.targets.iter().filter(move |target| target.state == state);
    html! {
        section {
            dl { @for state in Stands::ALL { dt { (site.say(word(state))) } dd { (kept.count(state)) } } }
            p.hint { (site.say(words::NOT_EVALUATED_WHY)) }
        }
        @for state in Stands::ALL.into_iter().filter(|state| *state != Stands::CannotBeComputed) {
            @if of(state).next().is_some() {
                h2 { (site.say(word(state))) }
                ul.cards { @for one in of(state) { li { (target(site, one)) } } }
            }
        }
    }
}

fn target(site: &Site, one: &Evaluated) -> Markup {
    let unit = if site.language == Language::Chinese { &one.unit_zh } else { &one.unit };
    let sign = match one.direction.as_str() {
        "<=" => "≤ ",
        ">=" => "≥ ",
        _ => "",
    };
    html! {
        strong { (named(site, &one.name, &one.name_en)) }
        dl {
            dt { (site.say(words::ASKED)) } dd { @if let Some(goal) = &one.goal { (sign) (goal) " " (unit) " · " } (one.deadline) }
            @if let Some(figure) = &one.figure { dt { (site.say(words::REACHED)) } dd { (figure) " " (unit) } }
            dt { (site.say(words::WHY)) } dd { (why(site, one)) }
        }
    }
}

/// Why, as a sentence.
fn why(site: &Site, one: &Evaluated) -> String {
    let is_chinese = site.language == Language::Chinese;
    let word = match (one.reason.as_str(), &one.asked, &one.wrong_way) {
        ("within_path", Some((value, on)), _) if is_chinese => return format!("至 {on} 应为 {value}，符合"),
        ("within_path", Some((value, on)), _) => return format!("{value} asked by {on}: within"),
        ("beyond_path", Some((value, on)), _) if is_chinese => return format!("至 {on} 应为 {value}，不符合"),
        ("beyond_path", Some((value, on)), _) => return format!("{value} asked by {on}: beyond"),
        ("wrong_way", _, Some((year, name, _))) if is_chinese => return format!("{year} 年{name}方向不符"),
        ("wrong_way", _, Some((year, _, name))) => return format!("{name} went the other way in {year}"),
        ("reached", ..) => words::REASON_REACHED,
        ("reached_so_far", ..) => words::REASON_REACHED_SO_FAR,
        ("reached_late", ..) => words::REASON_REACHED_LATE,
        ("not_reached", ..) => words::REASON_NOT_REACHED,
        ("right_way", ..) => words::REASON_RIGHT_WAY,
        ("found", ..) => words::REASON_FOUND,
        ("found_not", ..) => words::REASON_FOUND_NOT,
        ("not_begun", ..) => words::REASON_NOT_BEGUN,
        ("not_due", ..) => words::REASON_NOT_DUE,
        _ => words::NOT_EVALUATED,
    };
    site.say(word).to_owned()
}
