//! Registers (台账): what kinds there are, as forms and lists need it.

use anlan_app::record::{self, RegisterView};
use anlan_domain::register::{Field, FieldType, Kind, Owner, graph};
use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

use super::Answer;
use crate::extract::{AppRef, Caller, PathId};

/// A register in the list of registers.
#[derive(Serialize, ToSchema)]
pub(crate) struct RegisterSummary {
    /// Its word, as in addresses.
    kind: String,
    name: String,
    name_en: String,
    /// The pack that brings it.
    pack: String,
    /// Visible records that something follows.
    open: i64,
    /// Of those, late.
    overdue: i64,
}

impl From<RegisterView> for RegisterSummary {
    fn from(view: RegisterView) -> Self {
        let RegisterView { kind, pack, open, overdue } = view;
        Self { kind: kind.id.clone(), name: kind.name.clone(), name_en: kind.name_en.clone(), pack, open, overdue }
    }
}

/// Every register.
#[derive(Serialize, ToSchema)]
pub(crate) struct RegisterList {
    registers: Vec<RegisterSummary>,
}

/// Whose the records are.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RecordOwner {
    Enterprise,
    Region,
    /// An enterprise's where there is one, else a division's: each record names one of the two.
    Either,
    /// Nobody's: everybody sees them.
    Everyone,
}

/// What may stand in a field.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RegisterFieldType {
    Text,
    Number,
    Date,
    /// `YYYY-MM-DDTHH:MM`, Beijing.
    Datetime,
    Choice,
    /// Id of a user of `GET /people`.
    Person,
    /// `{"lon", "lat"}`, WGS-84.
    Place,
    /// A list of ids from `POST /attachments`.
    File,
    /// A list of objects by column.
    Table,
    /// Id of a record of the register `of`, of those that `GET /registers/{of}/records?for=REGISTER.FIELD` lists.
    Record,
}

/// One of the values of a field.
#[derive(Serialize, ToSchema)]
pub(crate) struct RegisterChoice {
    id: String,
    name: String,
    name_en: String,
}

/// A field.
#[derive(Serialize, ToSchema)]
pub(crate) struct RegisterField {
    id: String,
    name: String,
    name_en: String,
    r#type: RegisterFieldType,
    hint: String,
    hint_en: String,
    /// Characters of a text, greatest number, most files.
    max: Option<f64>,
    /// Least number.
    min: Option<f64>,
    /// Unit of a number; empty = a count.
    unit: String,
    choices: Vec<RegisterChoice>,
    /// Columns of a table.
    #[schema(no_recursion)]
    columns: Vec<RegisterField>,
    /// Most rows of a table; 0 = it is none.
    rows_max: usize,
    /// Register of the records that a record field names; empty = it is none.
    of: String,
    /// Kinds of files: `image`, `pdf`, `document`, `video`, `text`.
    accept: Vec<&'static str>,
    /// Follows from other fields; nobody fills it.
    computed: bool,
    /// Up to which level it goes between nodes, where that is not as far as its register, or for a column as its field: `none`, `county`, `city`, `province`.
    exchange: Option<&'static str>,
    /// Where its figures are from; may be empty.
    source: String,
    /// `verified`, `verified-secondary`, `product`, `unverified`; empty = no source.
    source_confidence: String,
}

impl From<&Field> for RegisterField {
    fn from(field: &Field) -> Self {
        let mut dto = Self {
            id: field.id.clone(),
            name: field.name.clone(),
            name_en: field.name_en.clone(),
            r#type: RegisterFieldType::Text,
            hint: field.hint.clone(),
            hint_en: field.hint_en.clone(),
            max: None,
            min: None,
            unit: String::new(),
            choices: Vec::new(),
            columns: Vec::new(),
            rows_max: 0,
            of: String::new(),
            accept: Vec::new(),
            computed: field.compute.is_some(),
            exchange: field.exchange.map(anlan_domain::register::Exchange::as_str),
            source: field.source.clone(),
            source_confidence: field.source_confidence.clone(),
        };
        match &field.of {
            FieldType::Text { max } => dto.max = Some(*max as f64),
            FieldType::Number { unit, min, max } => {
                dto.r#type = RegisterFieldType::Number;
                (dto.unit, dto.min, dto.max) = (unit.clone(), *min, *max);
            }
            FieldType::Date => dto.r#type = RegisterFieldType::Date,
            FieldType::DateTime => dto.r#type = RegisterFieldType::Datetime,
            FieldType::Choice { choices } => {
                dto.r#type = RegisterFieldType::Choice;
                let choice = |c: &anlan_domain::register::Choice| RegisterChoice {
                    id: c.id.clone(),
                    name: c.name.clone(),
                    name_en: c.name_en.clone(),
                };
                dto.choices = choices.iter().map(choice).collect();
            }
            FieldType::Person => dto.r#type = RegisterFieldType::Person,
            FieldType::Record { of, .. } => {
                dto.r#type = RegisterFieldType::Record;
                dto.of = of.clone();
            }
            FieldType::Place => dto.r#type = RegisterFieldType::Place,
            FieldType::File { max, accept } => {
                dto.r#type = RegisterFieldType::File;
                (dto.max, dto.accept) = (Some(*max as f64), accept.iter().map(|kind| kind.as_str()).collect());
            }
            FieldType::Table { columns, rows_max } => {
                dto.r#type = RegisterFieldType::Table;
                dto.columns = columns.iter().map(Into::into).collect();
                dto.rows_max = *rows_max;
            }
        }
        dto
    }
}

/// By when a state should be left: a field, or days after it was entered.
#[derive(Serialize, ToSchema)]
pub(crate) struct RegisterDeadline {
    field: Option<String>,
    days: Option<i64>,
    /// The days are working days.
    working: bool,
}

/// A state.
#[derive(Serialize, ToSchema)]
pub(crate) struct RegisterState {
    id: String,
    name: String,
    name_en: String,
    /// Nothing follows.
    end: bool,
    /// Roles on whose to-do list a record stands here.
    task: Vec<String>,
    deadline: Option<RegisterDeadline>,
    /// Where the deadline is from; may be empty.
    deadline_source: String,
    /// As `source_confidence` of a field.
    deadline_confidence: String,
}

/// A condition of a transition.
#[derive(Serialize, ToSchema)]
pub(crate) struct RegisterGuard {
    id: String,
    /// What it says when it says no.
    says: String,
    says_en: String,
}

impl From<&anlan_domain::register::Guard> for RegisterGuard {
    fn from(guard: &anlan_domain::register::Guard) -> Self {
        Self { id: guard.id.clone(), says: guard.says.clone(), says_en: guard.says_en.clone() }
    }
}

/// What leads from some states to another.
#[derive(Serialize, ToSchema)]
pub(crate) struct RegisterTransition {
    id: String,
    name: String,
    name_en: String,
    from: Vec<String>,
    /// Empty = it stays in whichever it is.
    to: String,
    /// It leads to the state from which the present one was entered, where that is known.
    back: bool,
    /// It is taken on a page of its own, where the product fills fields that nobody may type.
    own_page: bool,
    /// States to which it leads instead, by what becomes of the record.
    turns: Vec<String>,
    /// Roles that may.
    who: Vec<String>,
    /// Fields that must be filled by then.
    require: Vec<String>,
    /// Those of them that must be filled with it, whatever an earlier step said.
    fresh: Vec<String>,
    /// Further fields that may be filled with it.
    may: Vec<String>,
    guards: Vec<RegisterGuard>,
}

/// That records carry a certificate.
#[derive(Serialize, ToSchema)]
pub(crate) struct RegisterCertificate {
    /// States in which they do.
    r#in: Vec<String>,
    /// Fields that it shows.
    shows: Vec<String>,
    /// The date field that says how long it holds.
    until: Option<String>,
}

/// Words in both languages.
#[derive(Serialize, ToSchema)]
pub(crate) struct RegisterWords {
    name: String,
    name_en: String,
}

impl From<&anlan_domain::register::Words> for RegisterWords {
    fn from(words: &anlan_domain::register::Words) -> Self {
        Self { name: words.name.clone(), name_en: words.name_en.clone() }
    }
}

/// What a block of a printed record is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RegisterBlockType {
    Heading,
    Text,
    Fields,
    Table,
    Signatures,
    /// The QR code of the certificate.
    Certificate,
    History,
}

/// A block of a printed record.
#[derive(Serialize, ToSchema)]
pub(crate) struct RegisterBlock {
    r#type: RegisterBlockType,
    /// Of a heading or text one, of signatures who signs.
    words: Vec<RegisterWords>,
    /// Of fields these, of a table one.
    fields: Vec<String>,
}

impl From<&anlan_domain::register::Block> for RegisterBlock {
    fn from(block: &anlan_domain::register::Block) -> Self {
        use anlan_domain::register::Block;
        let of = |r#type, words, fields| Self { r#type, words, fields };
        match block {
            Block::Heading(words) => of(RegisterBlockType::Heading, vec![words.into()], vec![]),
            Block::Text(words) => of(RegisterBlockType::Text, vec![words.into()], vec![]),
            Block::Fields(fields) => of(RegisterBlockType::Fields, vec![], fields.clone()),
            Block::Table(field) => of(RegisterBlockType::Table, vec![], vec![field.clone()]),
            Block::Signatures(people) => of(RegisterBlockType::Signatures, people.iter().map(Into::into).collect(), vec![]),
            Block::Certificate => of(RegisterBlockType::Certificate, vec![], vec![]),
            Block::History => of(RegisterBlockType::History, vec![], vec![]),
        }
    }
}

/// How long records are kept.
#[derive(Serialize, ToSchema)]
pub(crate) struct RegisterRetention {
    /// Whole years from the day on which the record reached its end.
    years: i32,
    source: String,
    /// As `source_confidence` of a field.
    confidence: String,
}

/// A register.
#[derive(Serialize, ToSchema)]
pub(crate) struct Register {
    kind: String,
    name: String,
    name_en: String,
    pack: String,
    standard: String,
    clause: String,
    effective: String,
    /// As `source_confidence` of a field.
    confidence: String,
    owner: RecordOwner,
    /// Up to which level records go between nodes: `none`, `county`, `city`, `province`; `null` = not said.
    exchange: Option<&'static str>,
    /// How long records are kept once nothing follows; `null` = not said. It marks them; nothing is deleted by itself.
    retention: Option<RegisterRetention>,
    /// Records are numbered.
    numbered: bool,
    /// The field shown as the title.
    title: String,
    /// Fields that are together unique.
    key: Vec<String>,
    search: Vec<String>,
    list: Vec<String>,
    filter: Vec<String>,
    /// Columns of the import sheet; empty = nothing is imported.
    import: Vec<String>,
    /// Megabytes of one file in a field of files.
    file_mb: u64,
    /// The transition by which an imported row is made; whose roles may take it may import.
    import_by: Option<String>,
    /// `null` = its records carry none.
    certificate: Option<RegisterCertificate>,
    /// How a record is printed; empty = its filled fields, then its history.
    print: Vec<RegisterBlock>,
    /// The state from which records are made; none is in it.
    start: String,
    fields: Vec<RegisterField>,
    states: Vec<RegisterState>,
    transitions: Vec<RegisterTransition>,
    /// The states as a Mermaid diagram.
    graph: String,
}

fn register(kind: &Kind, pack: String, file_mb: u64) -> Register {
    use anlan_domain::register::Deadline;
    let deadline = |deadline: &Deadline| match deadline {
        Deadline::Field(field) => RegisterDeadline { field: Some(field.clone()), days: None, working: false },
        Deadline::Days(days) => RegisterDeadline { field: None, days: Some(i64::from(*days)), working: false },
        Deadline::WorkingDays(days) => RegisterDeadline { field: None, days: Some(i64::from(*days)), working: true },
    };
    let state = |s: &anlan_domain::register::State| RegisterState {
        id: s.id.clone(),
        name: s.name.clone(),
        name_en: s.name_en.clone(),
        end: s.is_end,
        task: s.task.clone(),
        deadline: s.deadline.as_ref().map(deadline),
        deadline_source: s.deadline_source.clone(),
        deadline_confidence: s.deadline_confidence.clone(),
    };
    let transition = |t: &anlan_domain::register::Transition| RegisterTransition {
        id: t.id.clone(),
        name: t.name.clone(),
        name_en: t.name_en.clone(),
        from: t.from.clone(),
        to: t.to.clone(),
        back: t.is_back,
        own_page: t.has_own_page,
        turns: t.turns.iter().map(|turn| turn.to.clone()).collect(),
        who: t.who.clone(),
        require: t.require.clone(),
        fresh: t.fresh.clone(),
        may: t.may.clone(),
        guards: t.guards.iter().map(Into::into).collect(),
    };
    let certificate = |c: &anlan_domain::register::certificate::Certificate| RegisterCertificate {
        r#in: c.states.clone(),
        shows: c.shows.clone(),
        until: c.until.clone(),
    };
    Register {
        kind: kind.id.clone(),
        name: kind.name.clone(),
        name_en: kind.name_en.clone(),
        pack,
        standard: kind.standard.clone(),
        clause: kind.clause.clone(),
        effective: kind.effective.clone(),
        confidence: kind.confidence.clone(),
        owner: match kind.owner {
            Owner::Enterprise => RecordOwner::Enterprise,
            Owner::Region => RecordOwner::Region,
            Owner::Either => RecordOwner::Either,
            Owner::Everyone => RecordOwner::Everyone,
        },
        exchange: kind.exchange.map(anlan_domain::register::Exchange::as_str),
        retention: kind.retention.as_ref().map(|r| RegisterRetention {
            years: r.years,
            source: r.source.clone(),
            confidence: r.confidence.clone(),
        }),
        numbered: !kind.number.is_empty(),
        title: kind.title.clone(),
        key: kind.key.clone(),
        search: kind.search.clone(),
        list: kind.list.clone(),
        filter: kind.filter.clone(),
        import: kind.import.clone(),
        file_mb,
        import_by: kind.import_by.clone(),
        certificate: kind.certificate.as_ref().map(certificate),
        print: kind.print.iter().map(Into::into).collect(),
        start: kind.start.clone(),
        fields: kind.fields.iter().map(Into::into).collect(),
        states: kind.states.iter().map(state).collect(),
        transitions: kind.transitions.iter().map(transition).collect(),
        graph: graph::mermaid(kind),
    }
}

/// Lists the registers of every pack that is on, with how much is open in each.
#[utoipa::path(get, path = "/registers", tag = "register", responses((status = 200, body = RegisterList)))]
pub(crate) async fn list(AppRef(app): AppRef, caller: Caller) -> Answer<RegisterList> {
    let registers = record::registers(&app, &caller.scope).await?;
    Ok(Json(RegisterList { registers: registers.into_iter().map(Into::into).collect() }))
}

/// One register: its fields, states and transitions.
#[utoipa::path(get, path = "/registers/{kind}", tag = "register", params(("kind" = String, Path)), responses((status = 200, body = Register)))]
pub(crate) async fn get(AppRef(app): AppRef, _: Caller, kind: PathId) -> Answer<Register> {
    let registers = app.registers.load();
    let found = registers.kind(&kind.0)?;
    let pack = registers.kinds.get(&kind.0).map(|(_, pack)| pack.clone()).unwrap_or_default();
    Ok(Json(register(&found, pack, app.settings.attachments.file_mb)))
}
