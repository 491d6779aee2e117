//! Warnings: pages, the feed, and each of them as CAP 1.2.
//!
//! The message that a warning is follows from its record alone: what was issued stays the same document until it is cancelled; from then on its record
//! gives out the Cancel, which names the first. Start at [`message`].

use anlan_app::error::{AppError, Kind as Refusal};
use anlan_app::public::{self, Published, Standing, Warning};
use anlan_domain::register::Value;
use anlan_protocols::cap::national::{AREA_CODE_NAME, Colour};
use anlan_protocols::cap::{
    Alert, Area, Category, Certainty, Circle, Info, MsgType, Named, Reference, ResponseType, Scope, Severity, Status, Time, Urgency,
};
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use jiff::civil::DateTime;
use maud::{Markup, html};
use serde::Deserialize;

use super::atom::{Entry, feed};
use super::record::{STATE, answer, basis, facts, id, named};
use super::words::{self, Word, numbered};
use super::{Section, Site};
use crate::Shared;

const PATH: &str = "/public/warnings";

pub(super) fn router() -> Router<Shared> {
    Router::new().route(PATH, get(list)).route("/public/warnings.atom", get(atom)).route("/public/warnings/{id}", get(one))
}

const fn standing(standing: Standing) -> Word {
    match standing {
        Standing::InForce => words::IN_FORCE,
        Standing::Superseded => words::SUPERSEDED,
        Standing::Cancelled => words::CANCELLED,
        Standing::Over => words::OVER,
    }
}

fn minute(at: DateTime) -> String {
    anlan_domain::register::minute_of(at).replace('T', " ")
}

/// The colour as a word; it never carries its meaning alone.
fn colour(site: &Site, warning: &Published) -> Markup {
    let word = warning.text("colour").unwrap_or_default();
    let name = warning.kind.field("colour").and_then(|field| match &field.of {
        anlan_domain::register::FieldType::Choice { choices } => choices.iter().find(|choice| choice.id == word),
        _ => None,
    });
    let class = format!("grade {}", Colour::parse(word).map_or("", Colour::as_str));
    html! { span class=(class) { (name.map_or(word, |name| self::named(site, &name.name, &name.name_en))) } }
}

/// Where the list of those in force goes on.
#[derive(Default, Deserialize)]
struct From {
    /// So many were on the pages before.
    #[serde(default)]
    from: String,
}

async fn list(site: Site, State(shared): State<Shared>, Query(from): Query<From>) -> Response {
    let page = async {
        let from = from.from.parse().unwrap_or(0);
        let told = public::warnings(&shared.app).await?;
        let (in_force, over): (Vec<&Warning>, Vec<&Warning>) = told.all.iter().partition(|warning| warning.standing == Standing::InForce);
        let here = in_force.get(from..).unwrap_or_default();
        let next = (here.len() > ROWS).then_some(from + ROWS);
        let body = html! {
            p { a.more href="/public/warnings.atom" { (site.say(words::FEED)) } }
            h2 { (site.say(words::IN_FORCE)) }
            @if told.is_cut { p.hint { (numbered(&site, words::IN_FORCE_CUT, public::IN_FORCE_MAX as usize)) } }
            @else if next.is_some() || from > 0 { p.hint { (numbered(&site, words::IN_FORCE_N, in_force.len())) } }
            @if in_force.is_empty() { p.panel { (site.say(words::NO_WARNING)) } } @else { (rows(&site, here)) }
            @if let Some(next) = next { p { a.more rel="next" href=(site.to(&format!("{PATH}?from={next}"))) { (site.say(words::OLDER)) } } }
            @if from == 0 && !over.is_empty() {
                h2 { (site.say(words::LATELY_OVER)) }
                (rows(&site, &over))
                @if over.len() > ROWS { p.hint { (site.say(words::LATELY_MORE)) } }
            }
        };
        Ok(site.page(Section::Warnings, site.say(words::WARNINGS), &body))
    };
    let page = page.await;
    answer(&site, Section::Warnings, page)
}

/// Most warnings of a page: those in force go on on the next, the feed has them all.
const ROWS: usize = 60;

fn rows(site: &Site, warnings: &[&Warning]) -> Markup {
    html! {
        ul.cards {
            @for warning in warnings.iter().take(ROWS) {
                li {
                    a href=(site.to(&format!("{PATH}/{}", warning.published.row.id))) lang=[site.lang_of(warning.published.title())] { (warning.published.title()) }
                    p { (colour(site, &warning.published)) " · " (site.say(standing(warning.standing))) @if let Some(at) = warning.published.instant("issued_at") { " · " (minute(at)) } }
                }
            }
        }
    }
}

async fn one(site: Site, State(shared): State<Shared>, Path(name): Path<String>) -> Response {
    if let Some(name) = name.strip_suffix(".cap") {
        let document = document(&site, &shared, name).await;
        return answer(&site, Section::Warnings, document);
    }
    let page = async {
        let warning = public::warning(&shared.app, id(&name)?).await?;
        let it = &warning.published;
        let body = html! {
            p { (colour(&site, it)) " · " strong { (site.say(standing(warning.standing))) } @if let Some(at) = warning.ended_at { " · " (minute(at)) } }
            @if let Some(instruction) = it.text("instruction") { section { h2 { (site.say(words::WHAT_TO_DO)) } p.prose lang=[site.lang_of(instruction)] { (instruction) } } }
            @if let Some(description) = it.text("description") { section { h2 { (site.say(words::WHAT_HAPPENS)) } p.prose lang=[site.lang_of(description)] { (description) } } }
            (facts(&site, it, &[STATE, "headline", "instruction", "description", "colour"]))
            @if let Some(before) = &warning.updates {
                p { (site.say(words::UPDATES)) a href=(site.to(&format!("{PATH}/{}", before.row.id))) lang=[site.lang_of(before.title())] { (before.title()) } }
            }
            p { a.more href=(format!("{PATH}/{}.cap", it.row.id)) { (site.say(words::AS_CAP)) } }
            (basis(&site, it))
        };
        Ok(site.page(Section::Warnings, it.title(), &body))
    };
    let page = page.await;
    answer(&site, Section::Warnings, page)
}

async fn document(site: &Site, shared: &Shared, name: &str) -> Result<Response, AppError> {
    let warning = public::warning(&shared.app, id(name)?).await?;
    let text = message(&warning, site.is_demo).and_then(|alert| alert.write().ok()).ok_or_else(|| {
        tracing::error!(record = %warning.published.row.id, "the warning {} cannot be told as CAP", warning.published.row.id);
        AppError::new(Refusal::Internal, "internal")
    })?;
    let mut response = text.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/cap+xml; charset=utf-8"));
    Ok(response)
}

/// Everything in force and lately over, as Atom.
async fn atom(site: Site, State(shared): State<Shared>) -> Response {
    let page = async {
        let told = public::warnings(&shared.app).await?;
        let entries = told.all.iter().map(|warning| {
            let it = &warning.published;
            Entry {
                record: it,
                title: format!("[{}] {}", site.say(standing(warning.standing)), it.title()),
                summary: it.text("instruction").unwrap_or_default().to_owned(),
                category: it.text("colour").unwrap_or_default().to_owned(),
                path: format!("{PATH}/{}", it.row.id),
                other: Some((format!("{PATH}/{}.cap", it.row.id), "application/cap+xml")),
            }
        });
        Ok(feed(&site, &shared, site.say(words::WARNINGS), "/public/warnings.atom", PATH, entries))
    };
    let page = page.await;
    answer(&site, Section::Warnings, page)
}

/// A word of a choice as the standard writes it: `all_clear` is AllClear, `cbrne` CBRNE.
fn word<T: Copy>(all: &[T], name: fn(T) -> &'static str, choice: Option<&str>) -> Option<T> {
    let choice = choice?.replace('_', "");
    all.iter().copied().find(|one| name(*one).eq_ignore_ascii_case(&choice))
}

/// Without what may not stand in a sender's name.
fn sender(issuer: &str) -> String {
    let name: String = issuer.chars().filter(|c| !c.is_whitespace() && !matches!(c, ',' | '<' | '&')).collect();
    if name.is_empty() { "anlan".to_owned() } else { name }
}

/// The message that says it first.
fn reference(warning: &Warning, it: &Published) -> Option<Reference> {
    let sent = Time::beijing(it.instant("issued_at")?);
    let identifier = public::identifier(it, &warning.identifiers, false)?;
    Some(Reference { sender: sender(it.text("issuer").unwrap_or_default()), identifier, sent })
}

/// A warning as a message of CAP 1.2. `None` for a record that no warning can be.
fn message(warning: &Warning, is_demo: bool) -> Option<Alert> {
    let it = &warning.published;
    let text = |id: &str| it.text(id).map(str::to_owned);
    let first = reference(warning, it)?;
    let is_cancelled = warning.standing == Standing::Cancelled;
    let (msg_type, references) = match (is_cancelled, warning.updates.as_deref().and_then(|before| reference(warning, before))) {
        (true, _) => (MsgType::Cancel, vec![first.clone()]),
        (false, Some(before)) => (MsgType::Update, vec![before]),
        (false, None) => (MsgType::Alert, Vec::new()),
    };
    let cancelled_at = it.instant("cancelled_at").filter(|_| is_cancelled);
    let sent = cancelled_at.map_or(first.sent, Time::beijing);
    Some(Alert {
        identifier: match cancelled_at {
            Some(_) => public::identifier(it, &warning.identifiers, true)?,
            None => first.identifier.clone(),
        },
        sender: first.sender,
        sent,
        // What was made up is nobody's warning.
        status: if is_demo { Status::Test } else { Status::Actual },
        msg_type,
        source: None,
        scope: Scope::Public,
        restriction: None,
        addresses: None,
        codes: Vec::new(),
        note: text("cancel_reason").filter(|_| is_cancelled),
        references,
        incidents: None,
        infos: vec![if is_cancelled { cancelled(info(it)?) } else { info(it)? }],
        is_signed: false,
    })
}

fn info(it: &Published) -> Option<Info> {
    let text = |id: &str| it.text(id).map(str::to_owned);
    let time = |id: &str| it.instant(id).map(Time::beijing);
    let colour = it.text("colour").and_then(Colour::parse);
    let severity = word(Severity::ALL, Severity::as_str, it.text("severity")).or(colour.map(Colour::severity));
    Some(Info {
        language: Some("zh-CN".to_owned()),
        categories: vec![word(Category::ALL, Category::as_str, it.text("category"))?],
        event: text("event")?,
        response_types: word(ResponseType::ALL, ResponseType::as_str, it.text("response")).into_iter().collect(),
        urgency: word(Urgency::ALL, Urgency::as_str, it.text("urgency"))?,
        severity: severity?,
        certainty: word(Certainty::ALL, Certainty::as_str, it.text("certainty"))?,
        audience: None,
        event_codes: Vec::new(),
        effective: time("effective_at").or_else(|| time("issued_at")),
        onset: None,
        expires: time("expires_at"),
        sender_name: text("issuer"),
        headline: text("headline"),
        description: text("description"),
        instruction: text("instruction"),
        web: None,
        contact: text("contact"),
        parameters: colour.map(Colour::parameter).into_iter().collect(),
        resources: Vec::new(),
        areas: areas(it),
    })
}

/// What is over calls nobody to act: whoever shows a message without its type shows the all-clear.
fn cancelled(info: Info) -> Info {
    Info {
        headline: info.headline.map(|headline| format!("解除：{headline}")),
        response_types: vec![ResponseType::AllClear],
        urgency: Urgency::Past,
        description: None,
        instruction: None,
        ..info
    }
}

fn areas(it: &Published) -> Vec<Area> {
    let area = |area_desc: String| Area {
        area_desc,
        polygons: Vec::new(),
        circles: Vec::new(),
        geocodes: Vec::new(),
        altitude: None,
        ceiling: None,
    };
    let mut areas = Vec::new();
    if let Some(Value::Table(rows)) = it.values.get("areas") {
        for row in rows {
            let cell = |id: &str| match row.get(id) {
                Some(Value::Text(text)) => Some(text.clone()),
                _ => None,
            };
            // A code says where as well as words do.
            let Some(name) = cell("area").or_else(|| cell("code")) else { continue };
            let codes = cell("code").map(|value| Named { value_name: AREA_CODE_NAME.to_owned(), value });
            areas.push(Area { geocodes: codes.into_iter().collect(), ..area(name) });
        }
    }
    if let (Some(Value::Place(place)), Some(Value::Number(radius_km))) = (it.values.get("center"), it.values.get("radius_km")) {
        let circle = Circle { center: (place.lat, place.lon), radius_km: *radius_km };
        let name = format!("{:.5},{:.5} {radius_km} km", place.lat, place.lon);
        areas.push(Area { circles: vec![circle], ..area(name) });
    }
    areas
}
