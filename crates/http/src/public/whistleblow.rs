//! Reports of violations from the public: a form, a receipt code, and a page to follow a report by that code.
//!
//! The code is only ever in a body: never in an address, a cookie or a log. A sending is read into memory, within limits, and handed on to be sealed.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anlan_app::App;
use anlan_app::error::{AppError, Problem};
use anlan_app::whistleblow::{self, About, FILE_MB, FILES_MAX, Followed, Identity, KIND, SENDING_MB, Sending, WORDS_CHARS, Words};
use anlan_domain::register::FieldType;
use anlan_model::RegionCode;
use axum::Router;
use axum::extract::multipart::{Multipart, MultipartRejection};
use axum::extract::{ConnectInfo, DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use maud::{Markup, html};

use super::words::{self, Word};
use super::{Section, Site};
use crate::layers::Arrival;
use crate::messages::{self, Language};
use crate::{OPEN_BODY_BYTES, Shared};

/// A sending from a telephone on a slow line has this long.
const SENDING_LIMIT: Duration = Duration::from_secs(180);
/// Sendings on their way, all together and of one address: each takes up to twice its length of memory.
pub(crate) const SENDING: (usize, usize) = (6, 3);
/// Bytes of a field that is no file: 4,000 characters of four bytes, and room.
const FIELD_BYTES: usize = 20_000;
/// Bytes of a sending, with what stands around its parts.
const BODY_BYTES: usize = SENDING_MB * 1_000_000 + 200_000;
/// Fields of a form; beyond them it is none of ours.
const FIELDS_MAX: usize = 40;
/// The field of the form's secret, by which the same form sent twice is one report.
const SECRET: &str = "form";

pub(super) fn router() -> Router<Shared> {
    let sendings = Router::new()
        .route("/public/report", get(form).post(report))
        .route("/public/follow/more", axum::routing::post(more))
        .layer(DefaultBodyLimit::max(BODY_BYTES));
    let looks = Router::new().route("/public/follow", get(ask).post(follow)).layer(DefaultBodyLimit::max(OPEN_BODY_BYTES));
    sendings.merge(looks)
}

/// Where the request comes from; for the brake, kept a minute in memory. A visitor has a /64 of IPv6, not an address.
fn origin(peer: Option<&ConnectInfo<SocketAddr>>) -> IpAddr {
    match peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |c| c.0.ip().to_canonical()) {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

/// What was filled in.
#[derive(Default)]
struct Filled {
    fields: BTreeMap<String, String>,
    files: Vec<(String, Vec<u8>)>,
    /// What did not fit and was left out; the rest is there, so that nobody has to write it again.
    problems: Vec<Problem>,
    /// Its place among those on their way, held until it is answered.
    _arrival: Option<Arrival>,
}

impl Filled {
    fn get(&self, field: &str) -> &str {
        self.fields.get(field).map_or("", String::as_str)
    }

    fn take(&mut self, field: &str) -> String {
        self.fields.remove(field).unwrap_or_default()
    }

    fn sending(&mut self) -> Sending {
        Sending {
            words: Words {
                what: self.get("what").to_owned(),
                unit: self.get("unit").to_owned(),
                place: self.get("place").to_owned(),
                when: self.get("when").to_owned(),
                files: Vec::new(),
            },
            identity: Identity {
                name: self.get("name").to_owned(),
                contact: self.get("contact").to_owned(),
                payee: self.get("payee").to_owned(),
            },
            files: std::mem::take(&mut self.files),
        }
    }
}

/// Reads a form with files, within limits and in time.
async fn filled(shared: &Shared, address: IpAddr, body: Result<Multipart, MultipartRejection>) -> Result<Filled, AppError> {
    whistleblow::may_send(&shared.app, &address.to_string())?;
    let Some(arrival) = shared.sendings.enter(address, SENDING) else {
        metrics::counter!("anlan_http_refused_total", "reason" => "sending").increment(1);
        return Err(AppError::new(anlan_app::error::Kind::Unavailable, "server.busy"));
    };
    let body = body.map_err(|_| AppError::invalid("whistleblow.form", ""))?;
    let mut filled = Filled { _arrival: Some(arrival), ..Filled::default() };
    let whole = tokio::time::timeout(SENDING_LIMIT, parts(body, &mut filled)).await;
    if let Err(failure) = whole.unwrap_or_else(|_| Err(AppError::invalid("body.too_slow", ""))) {
        if filled.fields.is_empty() {
            return Err(failure);
        }
        filled.problems.extend(failure.problems);
    }
    Ok(filled)
}

/// Reads all of it; what is too long is read past and noted.
async fn parts(mut body: Multipart, filled: &mut Filled) -> Result<(), AppError> {
    let broken = |failure: axum::extract::multipart::MultipartError| match failure.status() {
        StatusCode::PAYLOAD_TOO_LARGE => AppError::invalid("whistleblow.sending_large", "files").with("max_mb", SENDING_MB),
        _ => AppError::invalid("whistleblow.form", ""),
    };
    let mut n = 0;
    while let Some(mut field) = body.next_field().await.map_err(broken)? {
        n += 1;
        if n > FIELDS_MAX {
            return Err(AppError::invalid("whistleblow.form", ""));
        }
        let name = field.name().unwrap_or_default().to_owned();
        let file = field.file_name().map(str::to_owned);
        let most = if file.is_some() { FILE_MB * 1_000_000 } else { FIELD_BYTES };
        let (mut bytes, mut is_whole) = (Vec::new(), true);
        while let Some(piece) = field.chunk().await.map_err(broken)? {
            is_whole &= bytes.len() + piece.len() <= most;
            if is_whole {
                bytes.extend_from_slice(&piece);
            }
        }
        let mut fault = |failure: AppError| filled.problems.extend(failure.problems);
        match file {
            Some(_) if !is_whole => fault(AppError::invalid("whistleblow.file_large", "files").with("max_mb", FILE_MB)),
            Some(_) if filled.files.len() >= FILES_MAX => fault(AppError::invalid("whistleblow.files", "files").with("max", FILES_MAX)),
            // A field for files that was left empty comes as one without name and bytes.
            Some(file) if !(file.is_empty() && bytes.is_empty()) => filled.files.push((file, bytes)),
            Some(_) => {}
            None => {
                if !is_whole {
                    fault(AppError::invalid("text.too_long", &name).with("max", WORDS_CHARS));
                }
                filled.fields.insert(name, String::from_utf8_lossy(&bytes).into_owned());
            }
        }
    }
    Ok(())
}

/// What was left out of a form, if anything was.
fn refused(filled: &mut Filled) -> Option<AppError> {
    let problems = std::mem::take(&mut filled.problems);
    (!problems.is_empty()).then(|| AppError { problems, ..AppError::too_large("whistleblow.form") })
}

async fn form(site: Site, State(shared): State<Shared>) -> Response {
    let secret = match whistleblow::is_open(&shared.app).await {
        Ok(true) => whistleblow::form_secret(),
        Ok(false) => return closed(&site),
        Err(failure) => Err(failure),
    };
    match secret {
        Ok(secret) => {
            let filled = Filled { fields: BTreeMap::from([(SECRET.to_owned(), secret)]), ..Filled::default() };
            site.page(Section::Report, site.say(words::REPORT), &form_of(&site, &shared.app, &filled, &[]))
        }
        Err(failure) => site.refusal(Section::Report, &failure),
    }
}

fn closed(site: &Site) -> Response {
    let mut response = site.page(Section::Report, site.say(words::CLOSED), &html! { p { (site.say(words::CLOSED_WHY)) } });
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response
}

async fn report(
    site: Site,
    State(shared): State<Shared>,
    peer: Option<axum::Extension<ConnectInfo<SocketAddr>>>,
    body: Result<Multipart, MultipartRejection>,
) -> Response {
    let address = origin(peer.as_deref());
    let mut filled = match filled(&shared, address, body).await {
        Ok(filled) => filled,
        Err(failure) => return site.refusal(Section::Report, &failure),
    };
    let about =
        About { topic: filled.get("topic").to_owned(), channel: filled.get("channel").to_owned(), region: filled.get("region").to_owned() };
    let done = match refused(&mut filled) {
        Some(failure) => Err(failure),
        None => {
            let sending = filled.sending();
            whistleblow::report(&shared.app, about, sending, filled.get(SECRET)).await
        }
    };
    match done {
        Ok(receipt) => {
            let body = html! {
                div.done {
                    p { (site.say(words::RECEIPT_CODE)) }
                    p.code #code { (receipt.code) }
                    p { strong { (site.say(words::CODE_ONCE)) } }
                    @if receipt.is_repeated { p { (site.say(words::CAME_BEFORE)) } }
                }
                dl { dt { (site.say(words::NUMBER)) } dd { (receipt.number) } }
                p { a.more href=(site.to("/public/follow")) { (site.say(words::FOLLOW)) } }
            };
            let mut response = site.page(Section::Report, site.say(words::RECEIVED), &body);
            *response.status_mut() = if receipt.is_repeated { StatusCode::OK } else { StatusCode::CREATED };
            response
        }
        Err(failure) if failure.code() == "whistleblow.closed" => closed(&site),
        Err(failure) => {
            let form = form_of(&site, &shared.app, &filled, &failure.problems);
            again(&site, Section::Report, words::REPORT, &form, &failure)
        }
    }
}

async fn ask(site: Site) -> Response {
    site.page(Section::Follow, site.say(words::FOLLOW), &code_form(&site, &[]))
}

async fn follow(
    site: Site,
    State(shared): State<Shared>,
    peer: Option<axum::Extension<ConnectInfo<SocketAddr>>>,
    body: axum::body::Bytes,
) -> Response {
    let code = form_urlencoded::parse(&body).find(|(name, _)| name == "code").map(|(_, value)| value.into_owned()).unwrap_or_default();
    match whistleblow::follow(&shared.app, &origin(peer.as_deref()).to_string(), &code).await {
        Ok(followed) => site.page(Section::Follow, site.say(words::FOLLOW), &state_of(&site, &followed, &code)),
        Err(failure) => again(&site, Section::Follow, words::FOLLOW, &code_form(&site, &failure.problems), &failure),
    }
}

async fn more(
    site: Site,
    State(shared): State<Shared>,
    peer: Option<axum::Extension<ConnectInfo<SocketAddr>>>,
    body: Result<Multipart, MultipartRejection>,
) -> Response {
    let address = origin(peer.as_deref());
    let mut filled = match filled(&shared, address, body).await {
        Ok(filled) => filled,
        Err(failure) => return site.refusal(Section::Follow, &failure),
    };
    let code = filled.take("code");
    let done = match refused(&mut filled) {
        Some(failure) => Err(failure),
        None => {
            let sending = filled.sending();
            whistleblow::add(&shared.app, &address.to_string(), &code, sending).await
        }
    };
    match done {
        Ok(()) => {
            let body = html! {
                div.done { p { (site.say(words::MORE_DONE)) } }
                form method="post" action=(site.to("/public/follow")) {
                    input type="hidden" name="code" value=(code);
                    button { (site.say(words::BACK_TO_STATE)) }
                }
            };
            site.page(Section::Follow, site.say(words::MORE_DONE), &body)
        }
        Err(failure) if failure.code() == "whistleblow.closed" => closed(&site),
        Err(failure) if failure.code() == "whistleblow.code" => {
            again(&site, Section::Follow, words::FOLLOW, &code_form(&site, &failure.problems), &failure)
        }
        Err(failure) => {
            let body = html! { (faults(&site, &failure.problems)) (more_form(&site, &code, &filled, &failure.problems)) };
            again(&site, Section::Follow, words::FOLLOW, &body, &failure)
        }
    }
}

/// The form once more, with what stood against it.
fn again(site: &Site, section: Section, title: Word, form: &Markup, failure: &AppError) -> Response {
    super::log(failure);
    let mut response = site.page(section, site.say(title), form);
    *response.status_mut() = crate::problem::status(failure.kind);
    response
}

// ---- pieces of the pages

fn faults(site: &Site, problems: &[Problem]) -> Markup {
    html! {
        @if !problems.is_empty() {
            div.problem role="alert" {
                p { (site.say(words::FAULTS)) }
                @for (n, problem) in problems.iter().enumerate() {
                    p id=[fault_id(&problems[..n], problem)] {
                        @if let Some(name) = problem.field.as_deref().and_then(label_of) { (site.say(name)) "：" }
                        (messages::sentence(problem.code, site.language, &problem.params))
                    }
                }
            }
        }
    }
}

/// What a field is called.
fn label_of(field: &str) -> Option<Word> {
    Some(match field {
        "what" => words::WHAT,
        "unit" => words::UNIT,
        "place" => words::PLACE,
        "when" => words::WHEN,
        "name" => words::NAME,
        "contact" => words::CONTACT,
        "payee" => words::PAYEE,
        "files" => words::FILES,
        "topic" => words::TOPIC,
        "channel" => words::CHANNEL_LEGEND,
        "region" => words::WHERE,
        "code" => words::RECEIPT_CODE,
        _ => return None,
    })
}

fn is_wrong(problems: &[Problem], field: &str) -> bool {
    problems.iter().any(|p| p.field.as_deref() == Some(field))
}

/// The name of the first sentence about a field, to which the field points.
fn fault_id(before: &[Problem], problem: &Problem) -> Option<String> {
    let field = problem.field.as_deref().filter(|field| !is_wrong(before, field))?;
    label_of(field).map(|_| format!("fault-{field}"))
}

/// What describes a field: what is wrong with it, then its hint.
fn described(problems: &[Problem], field: &str, hint: Option<&str>) -> Option<String> {
    let fault = is_wrong(problems, field).then(|| format!("fault-{field}"));
    let all: Vec<String> = fault.into_iter().chain(hint.map(str::to_owned)).collect();
    (!all.is_empty()).then(|| all.join(" "))
}

fn line(site: &Site, filled: &Filled, problems: &[Problem], field: &'static str, label: Word) -> Markup {
    html! {
        label for=(field) { (site.say(label)) }
        input id=(field) name=(field) maxlength="200" autocomplete="off" value=(filled.get(field)) aria-describedby=[described(problems, field, None)] aria-invalid=[is_wrong(problems, field).then_some("true")];
    }
}

fn who(site: &Site, filled: &Filled, problems: &[Problem]) -> Markup {
    html! {
        fieldset {
            legend { (site.say(words::WHO_LEGEND)) }
            p.hint { (site.say(words::WHO_HINT)) }
            (line(site, filled, problems, "name", words::NAME))
            (line(site, filled, problems, "contact", words::CONTACT))
            (line(site, filled, problems, "payee", words::PAYEE))
        }
    }
}

fn files(site: &Site, problems: &[Problem]) -> Markup {
    html! {
        label for="files" { (site.say(words::FILES)) }
        input id="files" name="files" type="file" multiple aria-describedby=[described(problems, "files", Some("files-hint"))] aria-invalid=[is_wrong(problems, "files").then_some("true")];
        p.hint #files-hint { (site.say(words::FILES_HINT)) @if !problems.is_empty() { " " (site.say(words::FILES_AGAIN)) } }
    }
}

/// Choices of a field of the register: word, name.
fn choices(app: &App, field: &str, language: Language) -> Vec<(String, String)> {
    let Ok(kind) = app.registers.load().kind(KIND) else { return Vec::new() };
    let Some(FieldType::Choice { choices }) = kind.field(field).map(|f| &f.of) else { return Vec::new() };
    let name = |c: &anlan_domain::register::Choice| if language == Language::Chinese { c.name.clone() } else { c.name_en.clone() };
    choices.iter().map(|c| (c.id.clone(), name(c))).collect()
}

/// The node's division and those directly below it.
fn regions(app: &App) -> Vec<(String, String)> {
    let known = app.registry.get().regions.clone();
    let Some(own) = RegionCode::new(&app.settings.region) else { return Vec::new() };
    let mut found: Vec<(String, String)> = known.directly_below(&own, app.today()).map(|r| (r.code.to_string(), r.name.clone())).collect();
    found.extend(known.get(&own).map(|r| (r.code.to_string(), r.name.clone())));
    found
}

fn form_of(site: &Site, app: &App, filled: &Filled, problems: &[Problem]) -> Markup {
    let chosen = |field: &str, word: &str, first: bool| filled.get(field) == word || (first && filled.get(field).is_empty());
    html! {
        (faults(site, problems))
        p { (site.say(words::REPORT_INTRO)) }
        p { (site.say(words::REPORT_SAFE)) }
        form method="post" action=(site.to("/public/report")) enctype="multipart/form-data" {
            input type="hidden" name=(SECRET) value=(filled.get(SECRET)) autocomplete="off";
            fieldset {
                legend { (site.say(words::WHAT_LEGEND)) }
                label for="topic" { (site.say(words::TOPIC)) }
                select id="topic" name="topic" aria-describedby=[described(problems, "topic", None)] aria-invalid=[is_wrong(problems, "topic").then_some("true")] {
                    @for (word, name) in choices(app, "topic", site.language) { option value=(word) selected[chosen("topic", &word, false)] { (name) } }
                }
                label for="region" { (site.say(words::WHERE)) }
                select id="region" name="region" required aria-describedby=[described(problems, "region", None)] aria-invalid=[is_wrong(problems, "region").then_some("true")] {
                    option value="" { (site.say(words::REGION_CHOOSE)) }
                    @for (code, name) in regions(app) { option value=(code) selected[chosen("region", &code, false)] lang=[site.lang_of(&name)] { (name) } }
                }
                (line(site, filled, problems, "unit", words::UNIT))
                (line(site, filled, problems, "place", words::PLACE))
                (line(site, filled, problems, "when", words::WHEN))
                label for="what" { (site.say(words::WHAT)) }
                textarea id="what" name="what" required minlength="5" maxlength="4000" aria-describedby=[described(problems, "what", Some("what-hint"))] aria-invalid=[is_wrong(problems, "what").then_some("true")] { (filled.get("what")) }
                p.hint #what-hint { (site.say(words::WHAT_HINT)) }
                (files(site, problems))
            }
            (who(site, filled, problems))
            fieldset {
                legend { (site.say(words::CHANNEL_LEGEND)) }
                @for (n, (word, name)) in choices(app, "channel", site.language).into_iter().enumerate() {
                    label.choice { input type="radio" name="channel" value=(word) checked[chosen("channel", &word, n == 0)]; (name) }
                }
            }
            button { (site.say(words::SEND)) }
        }
    }
}

fn code_form(site: &Site, problems: &[Problem]) -> Markup {
    html! {
        (faults(site, problems))
        form method="post" action=(site.to("/public/follow")) {
            label for="code" { (site.say(words::RECEIPT_CODE)) }
            input id="code" name="code" required autocomplete="off" autocapitalize="characters" spellcheck="false" maxlength="40" aria-describedby=[described(problems, "code", Some("code-hint"))] aria-invalid=[(!problems.is_empty()).then_some("true")];
            p.hint #code-hint { (site.say(words::CODE_HINT)) }
            button { (site.say(words::LOOK)) }
        }
    }
}

fn state_of(site: &Site, followed: &Followed, code: &str) -> Markup {
    let state = if site.language == Language::Chinese { &followed.state.0 } else { &followed.state.1 };
    let rows = [
        (words::NUMBER, followed.number.clone()),
        (words::HANDLED, state.clone()),
        (words::RECEIVED_ON, followed.received_on.clone()),
        (words::HANDLE_BY, if followed.is_over { String::new() } else { followed.handle_by.clone() }),
        (words::SENDINGS, followed.sendings.to_string()),
        (words::REJECTED, followed.reject_reason.clone()),
        (words::REPLY, followed.reply.clone()),
        (words::REWARD, followed.reward_yuan.clone()),
        (words::PAID_ON, followed.paid_on.clone()),
    ];
    html! {
        section {
            dl { @for (name, value) in rows.iter().filter(|(_, value)| !value.is_empty()) { dt { (site.say(*name)) } dd.prose lang=[site.lang_of(value)] { (value) } } }
        }
        @if !followed.question.is_empty() && !followed.is_over {
            section { h2 { (site.say(words::QUESTION)) } p.prose lang=[site.lang_of(&followed.question)] { (followed.question) } }
        }
        @if !followed.reward_yuan.is_empty() && followed.paid_on.is_empty() { p { (site.say(words::REWARD_HOW)) } }
        (more_form(site, code, &Filled::default(), &[]))
    }
}

fn more_form(site: &Site, code: &str, filled: &Filled, problems: &[Problem]) -> Markup {
    html! {
        form method="post" action=(site.to("/public/follow/more")) enctype="multipart/form-data" {
            input type="hidden" name="code" value=(code);
            fieldset {
                legend { (site.say(words::MORE_LEGEND)) }
                label for="what" { (site.say(words::MORE_WHAT)) }
                textarea id="what" name="what" maxlength="4000" aria-describedby=[described(problems, "what", None)] aria-invalid=[is_wrong(problems, "what").then_some("true")] { (filled.get("what")) }
                (files(site, problems))
            }
            (who(site, filled, problems))
            button { (site.say(words::MORE_SEND)) }
        }
    }
}
