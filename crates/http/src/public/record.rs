//! What was published of a register: lists and single records, as every kind of them is shown.
//!
//! Which records and which fields these are, the register says ([`anlan_domain::register::Public`]); here they are only set. Start at [`router`].

use std::collections::BTreeMap;

use anlan_app::error::{AppError, Kind as Refusal};
use anlan_app::public::{self, ACTIVITY, LISTED, NOTICE, Published};
use anlan_app::validate::Paging;
use anlan_domain::register::{Field, FieldType, Value, minute_of};
use anlan_model::RecordId;
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::get;
use maud::{Markup, html};
use serde::Deserialize;

use super::words::{self, Word};
use super::{Section, Site};
use crate::Shared;
use crate::messages::Language;

/// Rows of a list: with the longest titles a page stays below 100 KB.
pub(super) const ROWS: u32 = 30;

/// A register with pages of its own.
#[derive(Clone, Copy)]
struct Shelf {
    section: Section,
    kind: &'static str,
    path: &'static str,
    title: Word,
    about: Word,
}

const NOTICES: Shelf =
    Shelf { section: Section::Notices, kind: NOTICE, path: "/public/notices", title: words::NOTICES, about: words::NOTICES_ABOUT };
const LISTINGS: Shelf =
    Shelf { section: Section::Listed, kind: LISTED, path: "/public/listed", title: words::LISTED, about: words::LISTED_ABOUT };
const ACTIVITIES: Shelf = Shelf {
    section: Section::Activities,
    kind: ACTIVITY,
    path: "/public/activities",
    title: words::ACTIVITIES,
    about: words::ACTIVITIES_ABOUT,
};

pub(super) fn router() -> Router<Shared> {
    let mut router = Router::new();
    for shelf in [NOTICES, LISTINGS, ACTIVITIES] {
        let list = move |site: Site, State(shared): State<Shared>, Query(after): Query<After>| async move {
            let page = list(&site, &shared, shelf, after.after).await;
            answer(&site, shelf.section, page)
        };
        let one = move |site: Site, State(shared): State<Shared>, Path(id): Path<String>| async move {
            let page = one(&site, &shared, shelf, &id).await;
            answer(&site, shelf.section, page)
        };
        router = router.route(shelf.path, get(list)).route(&format!("{}/{{id}}", shelf.path), get(one));
    }
    router
}

/// Where a list goes on.
#[derive(Default, Deserialize)]
pub(super) struct After {
    #[serde(default)]
    pub(super) after: Option<String>,
}

/// The page, or the one that says why not; what is not public looks as what is not there.
pub(super) fn answer(site: &Site, section: Section, page: Result<Response, AppError>) -> Response {
    match page {
        Ok(page) => page,
        Err(failure) if failure.kind == Refusal::NotFound => site.missing(),
        Err(failure) => {
            if failure.kind == Refusal::Internal {
                tracing::error!(error = &failure as &dyn std::error::Error, "a public page could not be made: {failure}");
            }
            site.refusal(section, &failure)
        }
    }
}

/// An id of the address; anything else names nothing.
pub(super) fn id(text: &str) -> Result<RecordId, AppError> {
    text.parse().map_err(|_| AppError::not_found())
}

async fn list(site: &Site, shared: &Shared, shelf: Shelf, after: Option<String>) -> Result<Response, AppError> {
    let page = public::list(&shared.app, shelf.kind, &Paging { cursor: after, limit: ROWS }).await?;
    let body = html! {
        p.hint { (site.say(shelf.about)) }
        @if shelf.kind == NOTICE { p { a.more href="/public/notices.atom" { (site.say(words::FEED)) } } }
        (rows(site, shelf.path, &page.items))
        @if let Some(next) = &page.next {
            p { a.more rel="next" href=(site.to(&format!("{}?after={}", shelf.path, encoded(next)))) { (site.say(words::OLDER)) } }
        }
    };
    Ok(site.page(shelf.section, site.say(shelf.title), &body))
}

/// A list of records, each with its day.
pub(super) fn rows(site: &Site, path: &str, items: &[Published]) -> Markup {
    html! {
        @if items.is_empty() { p.panel { (site.say(words::NOTHING)) } } @else {
            ul.cards {
                @for item in items {
                    li {
                        a href=(site.to(&format!("{path}/{}", item.row.id))) lang=[site.lang_of(item.title())] {
                            @if item.row.is_retracted { (site.say(words::RETRACTED)) " " (item.row.number) } @else { (item.title()) }
                        }
                        p { (day(item)) @if let Some(of) = &item.row.owner { " · " span lang=[site.lang_of(of)] { (of) } } " · " (state(site, item)) }
                    }
                }
            }
        }
    }
}

async fn one(site: &Site, shared: &Shared, shelf: Shelf, id: &str) -> Result<Response, AppError> {
    let record = public::one(&shared.app, shelf.kind, self::id(id)?).await?;
    if record.row.is_retracted {
        return Ok(site.page(shelf.section, site.say(words::RETRACTED), &retracted(site, &record)));
    }
    let skip = [record.kind.title.as_str(), "text", "plan", "as_of"];
    let has_plan = shelf.kind == NOTICE && public::evaluation(&shared.app, &record).await?.is_some();
    let body = html! {
        (facts(site, &record, &skip))
        @if let Some(text) = record.text("text") { section.prose lang=[site.lang_of(text)] { (text) } }
        @if has_plan { p { a.more href=(site.to(&format!("/public/plans/{}", record.row.id))) { (site.say(words::PLAN_TARGETS)) } } }
        (basis(site, &record))
    };
    Ok(site.page(shelf.section, record.title(), &body))
}

/// That it was taken back, and why; nothing of what it said.
fn retracted(site: &Site, record: &Published) -> Markup {
    html! {
        section {
            p { (site.say(words::RETRACTED_WHAT)) }
            dl {
                @if !record.row.number.is_empty() { dt { (site.say(words::NUMBER)) } dd { (record.row.number) } }
                dt { (site.say(words::RETRACTED_ON)) } dd { (record.row.entered_on) }
                @if let Some(reason) = record.reason() { dt { (site.say(words::RETRACTED_WHY)) } dd.prose lang=[site.lang_of(reason)] { (reason) } }
            }
        }
    }
}

/// What stands for the state among what is left out; no field is called so.
pub(super) const STATE: &str = "@state";

/// Every public field with its name, but those of `skip`.
pub(super) fn facts(site: &Site, record: &Published, skip: &[&str]) -> Markup {
    let shown = record.kind.public.iter().flat_map(|public| public.fields()).filter(|id| !skip.contains(&id.as_str()));
    let fields: Vec<(&Field, &Value)> =
        shown.filter_map(|id| Some((record.kind.field(id)?, record.values.get(id)?))).filter(|(f, _)| is_told(f)).collect();
    html! {
        section {
            dl {
                @if !record.row.number.is_empty() { dt { (site.say(words::NUMBER)) } dd { (record.row.number) } }
                @if !skip.contains(&STATE) { dt { (site.say(words::STATE)) } dd { (state(site, record)) } }
                @if let Some(owner) = &record.row.owner { dt { (site.say(words::OWNER)) } dd lang=[site.lang_of(owner)] { (owner) } }
                @if let Some(region) = &record.row.region_name { dt { (site.say(words::REGION)) } dd lang=[site.lang_of(region)] { (region) } }
                @for (field, value) in fields {
                    dt { (named(site, &field.name, &field.name_en)) }
                    dd.prose { (shown_value(site, field, value)) }
                }
            }
        }
    }
}

/// By what law it is public.
pub(super) fn basis(site: &Site, record: &Published) -> Markup {
    let source = record.kind.public.as_ref().map(|public| public.source.as_str()).unwrap_or_default();
    html! { p.hint { (site.say(words::BASIS)) span lang=[site.lang_of(source)] { (source) } } }
}

/// A reference says nothing to the public by itself.
fn is_told(field: &Field) -> bool {
    !matches!(field.of, FieldType::Record { .. })
}

/// In the visitor's language.
pub(super) fn named<'a>(site: &Site, name: &'a str, name_en: &'a str) -> &'a str {
    if site.language == Language::Chinese { name } else { name_en }
}

/// The name of the state in which it is.
pub(super) fn state<'a>(site: &Site, record: &'a Published) -> &'a str {
    record.kind.state(&record.row.state).map_or("", |state| named(site, &state.name, &state.name_en))
}

/// Since when it is public, or since when it is as it is.
fn day(record: &Published) -> String {
    let since = record.row.since.as_deref().filter(|_| !record.row.is_retracted).unwrap_or(&record.row.entered_on);
    since.replace('T', " ")
}

/// A value as people read it.
pub(super) fn shown_value(site: &Site, field: &Field, value: &Value) -> Markup {
    match (&field.of, value) {
        (FieldType::Choice { choices }, Value::Text(word)) => {
            html! { (choices.iter().find(|choice| choice.id == *word).map_or(word.as_str(), |choice| named(site, &choice.name, &choice.name_en))) }
        }
        (FieldType::Number { unit, .. }, Value::Number(n)) => {
            html! { (n) @if !unit.is_empty() { " " span lang=[site.lang_of(unit)] { (unit) } } }
        }
        (FieldType::Table { columns, .. }, Value::Table(rows)) => table(site, columns, rows),
        (_, Value::Text(text)) => html! { span lang=[site.lang_of(text)] { (text) } },
        (_, Value::Number(n)) => html! { (n) },
        (_, Value::Date(date)) => html! { (date) },
        (_, Value::DateTime(at)) => html! { (minute_of(*at).replace('T', " ")) },
        (_, Value::Place(place)) => html! { (format!("{:.5}, {:.5}", place.lat, place.lon)) },
        (_, Value::Table(_) | Value::Files(_)) => html! {},
    }
}

fn table(site: &Site, columns: &[Field], rows: &[BTreeMap<String, Value>]) -> Markup {
    let used: Vec<&Field> = columns.iter().filter(|column| rows.iter().any(|row| row.contains_key(&column.id))).collect();
    html! {
        div.wide tabindex="0" role="region" aria-label=(site.say(words::TABLE)) {
            table {
                thead { tr { @for column in &used { th scope="col" { (named(site, &column.name, &column.name_en)) } } } }
                tbody {
                    @for row in rows {
                        tr { @for column in &used { td { @if let Some(value) = row.get(&column.id) { (shown_value(site, column, value)) } } } }
                    }
                }
            }
        }
    }
}

/// For a query.
pub(super) fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
