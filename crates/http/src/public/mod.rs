//! The public site (公众网站) under `/public`: pages made here, without login and without a script, small enough for a bad line.
//!
//! Nothing on these pages belongs to a session: no cookie is read or set, no visitor is counted, and no address, browser or receipt code is
//! written anywhere. Every page goes through [`Site::page`]; what it says stands in `words.rs`. Start at [`router`].

mod atom;
mod evaluation;
mod licence;
mod record;
mod warning;
pub(crate) mod whistleblow;
mod words;

use axum::Router;
use axum::extract::{FromRequestParts, Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use maud::{DOCTYPE, Markup, html};
use serde::Deserialize;
use tracing::warn;

use crate::messages::Language;
use crate::{Shared, messages};
use anlan_app::error::{AppError, Kind};
use words::Word;

/// The one style sheet; dark where the visitor's system is.
const STYLE: &str = include_str!("site.css");
/// No script, nothing from elsewhere.
const CSP: &str = "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The public pages; their sizes and limits are those of each module.
pub(crate) fn router() -> Router<Shared> {
    Router::new()
        .route("/public", get(home))
        .route("/public/", get(home))
        .route("/public/site.css", get(style))
        .merge(whistleblow::router())
        .route("/public/{*rest}", get(missing))
        .merge(atom::router())
        .merge(evaluation::router())
        .merge(licence::router())
        .merge(record::router())
        .merge(warning::router())
}

/// What every page needs of the request and the node.
pub(crate) struct Site {
    /// The visitor's, from `?lang=`.
    pub(crate) language: Language,
    /// Invented data.
    is_demo: bool,
    /// The node's division.
    place: String,
    /// Where the visitor is, for the switch of language; an answer to a form cannot be asked for again.
    path: Option<String>,
}

/// A heading of the site's navigation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    /// The front page, and pages that belong to none.
    Home,
    /// Reports of violations.
    Report,
    /// A report by its code.
    Follow,
    Warnings,
    Notices,
    Listed,
    Licences,
    Plans,
    Activities,
}

const SECTIONS: &[(Section, &str, Word)] = &[
    (Section::Home, "/public", words::HOME),
    (Section::Report, "/public/report", words::REPORT),
    (Section::Follow, "/public/follow", words::FOLLOW),
    (Section::Warnings, "/public/warnings", words::WARNINGS),
    (Section::Notices, "/public/notices", words::NOTICES),
    (Section::Listed, "/public/listed", words::LISTED),
    (Section::Licences, licence::PATH, words::LICENCES),
    (Section::Plans, "/public/plans", words::PLANS),
    (Section::Activities, "/public/activities", words::ACTIVITIES),
];

#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    lang: String,
}

impl FromRequestParts<Shared> for Site {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Self::Rejection> {
        let asked = Query::<Asked>::try_from_uri(&parts.uri).map_or_else(|_| String::new(), |q| q.0.lang);
        let language = if asked == "en" { Language::English } else { Language::Chinese };
        let registry = shared.app.registry.get();
        let place =
            anlan_model::RegionCode::new(&shared.app.settings.region).and_then(|code| registry.regions.get(&code).map(|r| r.name.clone()));
        Ok(Self {
            language,
            is_demo: shared.demo,
            place: place.unwrap_or_default(),
            path: (parts.method != axum::http::Method::POST).then(|| parts.uri.path().to_owned()),
        })
    }
}

impl Site {
    /// A word in the visitor's language.
    pub(crate) fn say(&self, word: Word) -> &'static str {
        word.in_language(self.language)
    }

    /// The language of a text that people wrote, where it is not the page's.
    pub(crate) fn lang_of(&self, text: &str) -> Option<&'static str> {
        // Ideographs, and the marks that go with them.
        let is_chinese = || text.chars().any(|c| matches!(c, '\u{2e80}'..='\u{9fff}' | '\u{ff00}'..='\u{ffef}'));
        (self.language == Language::English && is_chinese()).then(|| Language::Chinese.tag())
    }

    /// The address of another page of the site, in the same language.
    pub(crate) fn to(&self, path: &str) -> String {
        match self.language {
            Language::Chinese => path.to_owned(),
            Language::English if path.contains('?') => format!("{path}&lang=en"),
            Language::English => format!("{path}?lang=en"),
        }
    }

    /// A whole page. What it shows is of this visitor alone and kept by nobody between.
    pub(crate) fn page(&self, section: Section, title: &str, body: &Markup) -> Response {
        let other = self.path.as_ref().map(|path| match self.language {
            Language::Chinese => format!("{path}?lang=en"),
            Language::English => path.clone(),
        });
        let page = html! {
            (DOCTYPE)
            html lang=(self.language.tag()) {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (title) " · " (self.place) (self.say(words::SITE)) }
                    link rel="stylesheet" href="/public/site.css";
                }
                body {
                    a.skip href="#main" { (self.say(words::SKIP)) }
                    header {
                        p.site { span lang=[self.lang_of(&self.place)] { (self.place) } (self.say(words::SITE)) }
                        nav aria-label=(self.say(words::NAVIGATION)) {
                            @for (of, path, word) in SECTIONS {
                                a href=(self.to(path)) aria-current=[(*of == section).then_some("page")] { (self.say(*word)) }
                            }
                            @if let Some(other) = other {
                                a href=(other) lang=(if self.language == Language::Chinese { "en" } else { "zh-CN" }) { (self.say(words::OTHER_LANGUAGE)) }
                            }
                        }
                        @if self.is_demo { p.demo { (self.say(words::DEMO)) } }
                    }
                    main #main { h1 lang=[self.lang_of(title)] { (title) } (body) }
                    footer { p { (self.say(words::HOTLINE)) } p { (self.say(words::NO_TRACE)) } }
                }
            }
        };
        let mut response = Html(page.into_string()).into_response();
        let out = response.headers_mut();
        out.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CSP));
        out.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        out.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        out.insert(header::CONTENT_LANGUAGE, HeaderValue::from_static(self.language.tag()));
        response
    }

    /// The page of an address that is none, or of what is not public: the two look the same on purpose.
    pub(crate) fn missing(&self) -> Response {
        let mut response = self.page(Section::Home, self.say(words::MISSING), &html! { p { (self.say(words::MISSING_WHY)) } });
        *response.status_mut() = StatusCode::NOT_FOUND;
        response
    }

    /// The page that says what stood against it; a form that can be mended says so itself.
    pub(crate) fn refusal(&self, section: Section, failure: &AppError) -> Response {
        log(failure);
        let said = failure.problems.iter().map(|p| messages::sentence(p.code, self.language, &p.params));
        let body = html! { div.problem role="alert" { @for sentence in said { p { (sentence) } } } };
        let mut response = self.page(section, self.say(words::NOT_DONE), &body);
        *response.status_mut() = crate::problem::status(failure.kind);
        response
    }
}

/// Says in the log what is ours or the machine's fault; nothing of the visitor.
pub(crate) fn log(failure: &AppError) {
    if matches!(failure.kind, Kind::Internal | Kind::Unavailable) {
        warn!(code = failure.code(), error = failure as &dyn std::error::Error, "a public page could not be answered: {failure}");
    }
}

async fn home(site: Site) -> Response {
    let body = html! {
        ul.cards {
            @for (of, path, word) in SECTIONS.iter().filter(|(of, ..)| *of != Section::Home) {
                li { a href=(site.to(path)) { (site.say(*word)) } @if let Some(about) = about(*of) { p { (site.say(about)) } } }
            }
        }
    };
    site.page(Section::Home, site.say(words::HOME_TITLE), &body)
}

/// What a section is for, on the front page.
const fn about(section: Section) -> Option<Word> {
    match section {
        Section::Home => None,
        Section::Report => Some(words::REPORT_ABOUT),
        Section::Follow => Some(words::FOLLOW_ABOUT),
        Section::Warnings => Some(words::WARNINGS_ABOUT),
        Section::Notices => Some(words::NOTICES_ABOUT),
        Section::Listed => Some(words::LISTED_ABOUT),
        Section::Licences => Some(words::LICENCES_ABOUT),
        Section::Plans => Some(words::PLANS_ABOUT),
        Section::Activities => Some(words::ACTIVITIES_ABOUT),
    }
}

async fn missing(site: Site) -> Response {
    site.missing()
}

async fn style(State(_): State<Shared>) -> Response {
    let mut response = STYLE.into_response();
    let out = response.headers_mut();
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/css; charset=utf-8"));
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    response
}
