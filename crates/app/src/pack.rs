//! Packs: where they lie, which are on, and the registers they bring.
//!
//! `packs/base` is part of the program and always on. Others lie in a folder of the operator; an administrator switches one on after reading what
//! is in it, and from then on the node uses the files as they were then, out of its database: what changes in the folder later changes nothing
//! until somebody switches it on again. A pack with anything wrong, or that does not fit the others, is refused. Start at [`Registers::load`].

pub mod offer;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anlan_domain::calendar::Calendar;
use anlan_domain::indicator::{self, Indicators};
use anlan_domain::networking::Networking;
pub use anlan_domain::pack::folder::{Folder, PackMeta, Wrong};
use anlan_domain::plan::Plan;
use anlan_domain::register::{Exchange, FieldType, Kind, check_together};
use anlan_domain::submission::Submission;
use anlan_model::{Clock as _, Permission, Scope};
use anlan_store::{PackRow, Store};
use sha2::{Digest as _, Sha256};
use tracing::warn;

use crate::error::{AppError, Kind as Refusal, Problem};
use crate::signing::{SIGNATURE_FILE, Signature, of_pack};
use crate::{App, record};

/// Bytes of all files of a pack.
pub const BYTES_MAX: u64 = 5 << 20;
/// Files of a pack.
pub const FILES_MAX: usize = 2_000;
/// Folders inside folders.
const DEPTH_MAX: usize = 8;
/// Packs in the operator's folder that are looked at.
const PACKS_MAX: usize = 200;
/// Word of the pack that is part of the program.
pub const BASE: &str = "base";
/// Word of the region's pack, whose data is part of the program too.
const REGION: &str = "region-yuxi";

/// Setting: hash of what each built-in register is, by which its records are kept; JSON.
const RENEWED: &str = "base_pack";

/// Setting: by what was said of how far they go the records of each register were last told to the node above; JSON.
const TOLD: &str = "record_exchange";

/// The files of the built-in pack.
#[derive(rust_embed::Embed)]
#[folder = "../../packs/base"]
struct Base;

/// A plan of a pack that is on.
#[derive(Clone, Debug)]
pub struct KnownPlan {
    /// The document.
    pub plan: Arc<Plan>,
    /// The definitions of its figures.
    pub indicators: Arc<Indicators>,
    /// Word of the pack.
    pub pack: String,
}

/// The registers of every pack that is on, and what they ask of the network.
#[derive(Clone, Debug, Default)]
pub struct Registers {
    /// By word, with the word of the pack.
    pub kinds: BTreeMap<String, (Arc<Kind>, String)>,
    /// Who should be on the network, by the word of the pack.
    networking: BTreeMap<String, Networking>,
    /// Submissions by word, with the word of the pack and the hash of the text.
    submissions: BTreeMap<String, (Arc<Submission>, String, String)>,
    /// Plans by word.
    plans: BTreeMap<String, KnownPlan>,
}

impl Registers {
    /// The registers of the built-in pack and of those in the database that are on. One of those that no longer fits this release is left out,
    /// with a line in the log: the others go on.
    ///
    /// # Errors
    /// The store's; a built-in pack that is not sound is a fault of the build.
    pub async fn load(store: &Store) -> Result<Self, AppError> {
        let mut registers = Self::default();
        let base = Folder::check(&base_files());
        if let Some(wrong) = base.wrong.first() {
            return Err(AppError { source: Some(wrong.to_string().into()), ..AppError::new(Refusal::Internal, "internal") });
        }
        registers.add(BASE, base);
        let region =
            crate::rules::networking().map_err(|e| AppError { source: Some(e.into()), ..AppError::new(Refusal::Internal, "internal") })?;
        registers.networking.insert(REGION.to_owned(), region);
        let plan = crate::rules::plan().map_err(|e| AppError { source: Some(e.into()), ..AppError::new(Refusal::Internal, "internal") })?;
        registers.add_plan(REGION, plan, None);
        let on = store.packs().await?.into_iter().filter(|pack| pack.enabled);
        let mut left: Vec<(String, Folder)> = on.map(|pack| (pack.id, Folder::check(&pack.files))).collect();
        // In rounds: a pack may open registers of another, in whatever order their names stand.
        loop {
            let n = left.len();
            left.retain_mut(|(id, folder)| {
                let fits = folder.wrong.is_empty() && registers.against(folder).is_empty();
                if fits {
                    registers.add(id, std::mem::take(folder));
                }
                !fits
            });
            if left.len() == n || left.is_empty() {
                break;
            }
        }
        for (id, folder) in left {
            let wrong = folder.wrong.first().cloned().or_else(|| registers.against(&folder).into_iter().next());
            warn!(pack = id, "pack {id} is left out: it does not fit: {}", wrong.map(|wrong| wrong.to_string()).unwrap_or_default());
        }
        Ok(registers)
    }

    /// Words of its registers.
    pub fn kinds(&self) -> Vec<String> {
        self.kinds.keys().cloned().collect()
    }

    /// Tells the store how far records go.
    pub(crate) fn make_known(&self, store: &Store) {
        store.set_registers(self.kinds.values().map(|(kind, _)| Arc::clone(kind)));
    }

    fn add(&mut self, pack: &str, folder: Folder) {
        self.kinds.extend(folder.kinds.into_iter().map(|kind| (kind.id.clone(), (Arc::new(kind), pack.to_owned()))));
        self.networking.extend(folder.networking.map(|networking| (pack.to_owned(), networking)));
        self.submissions.extend(folder.submissions.into_iter().map(|submission| {
            let hash = crate::submission::digest_of(&submission.text);
            (submission.id.clone(), (Arc::new(submission), pack.to_owned(), hash))
        }));
        if let Some((plan, indicators)) = folder.plan {
            self.add_plan(pack, plan, indicators);
        }
    }

    fn add_plan(&mut self, pack: &str, plan: Plan, indicators: Option<Indicators>) {
        let indicators = Arc::new(indicators.unwrap_or_else(|| indicator::built_in().clone()));
        self.plans.insert(plan.id.clone(), KnownPlan { plan: Arc::new(plan), indicators, pack: pack.to_owned() });
    }

    /// Every plan, in order of words.
    pub fn plans(&self) -> impl Iterator<Item = &KnownPlan> {
        self.plans.values()
    }

    /// The plan of this word.
    pub fn plan(&self, id: &str) -> Option<&KnownPlan> {
        self.plans.get(id)
    }

    /// Whether anything of a pack is used.
    fn uses(&self, pack: &str) -> bool {
        self.networking.contains_key(pack)
            || self.kinds.values().any(|(_, of)| of == pack)
            || self.submissions.values().any(|(_, of, _)| of == pack)
            || self.plans.values().any(|known| known.pack == pack)
    }

    /// Without what one pack brings.
    fn without(&self, pack: &str) -> Self {
        let kinds = self.kinds.iter().filter(|(_, (_, of))| of != pack);
        let networking = self.networking.iter().filter(|(of, _)| *of != pack);
        let submissions = self.submissions.iter().filter(|(_, (_, of, _))| of != pack);
        let plans = self.plans.iter().filter(|(_, known)| known.pack != pack);
        Self {
            plans: plans.map(|(id, known)| (id.clone(), known.clone())).collect(),
            kinds: kinds.map(|(id, kind)| (id.clone(), kind.clone())).collect(),
            networking: networking.map(|(of, networking)| (of.clone(), networking.clone())).collect(),
            submissions: submissions.map(|(id, submission)| (id.clone(), submission.clone())).collect(),
        }
    }

    /// Who should be on the network and what is asked of them: the built-in pack first, then the region's, then the others in order of words.
    pub fn networking(&self) -> Networking {
        let mut all = Networking::default();
        let built_in = [BASE, REGION].into_iter().filter_map(|pack| self.networking.get(pack));
        let others = self.networking.iter().filter(|(pack, _)| ![BASE, REGION].contains(&pack.as_str())).map(|(_, networking)| networking);
        built_in.chain(others).for_each(|networking| all.join(networking));
        all
    }

    /// What speaks against who should be on the network: groups that nobody describes, registers and states that nobody brings.
    fn against_networking(&self, folder: &Folder) -> Vec<Wrong> {
        let mut all = self.networking();
        if let Some(networking) = &folder.networking {
            all.join(networking);
        }
        let kind_of =
            |id: &str| self.kinds.get(id).map(|(kind, _)| kind.as_ref()).or_else(|| folder.kinds.iter().find(|kind| kind.id == id));
        let at = |field: &str, reason| Wrong { file: "networking.toml".to_owned(), line: 0, field: field.to_owned(), reason };
        let mut wrong: Vec<Wrong> =
            all.unknown_groups().into_iter().map(|group| at("group", format!("nobody describes the group {group:?}"))).collect();
        for part in all.groups.iter().flat_map(|group| &group.is.of) {
            let Some(register) = &part.register else { continue };
            match kind_of(register) {
                None => wrong.push(at("register", format!("there is no register {register:?}"))),
                Some(kind) => {
                    let unknown = part.states.iter().filter(|state| kind.state(state).is_none());
                    wrong.extend(unknown.map(|state| at("states", format!("the register {register:?} has no state {state:?}"))));
                }
            }
        }
        wrong
    }

    /// A submission, the word of its pack and the hash of its text.
    pub fn submission(&self, id: &str) -> Option<(Arc<Submission>, String, String)> {
        self.submissions.get(id).cloned()
    }

    /// What speaks against submissions: words that are taken, registers, states and fields that nobody brings, what goes no further than a lower level.
    fn against_submissions(&self, folder: &Folder) -> Vec<Wrong> {
        let find = |id: &str| self.kinds.get(id).map(|(kind, _)| kind.as_ref()).or_else(|| folder.kinds.iter().find(|kind| kind.id == id));
        let at = |id: &str| format!("submissions/{id}/submission.toml");
        let twice = folder.submissions.iter().filter_map(|submission| {
            let (_, pack, _) = self.submissions.get(&submission.id)?;
            let reason = format!("{:?} is a submission of the pack {pack:?}", submission.id);
            Some(Wrong { file: at(&submission.id), line: 0, field: "id".to_owned(), reason })
        });
        let all = self.submissions.values().map(|(submission, ..)| submission.as_ref()).chain(&folder.submissions);
        let breaches = all.flat_map(|submission| {
            let wrong = submission.against(find).into_iter();
            wrong.map(|b| Wrong { file: at(&submission.id), line: b.line, field: b.field, reason: b.reason })
        });
        twice.chain(breaches).collect()
    }

    /// What speaks against these kinds beside the others.
    fn against(&self, folder: &Folder) -> Vec<Wrong> {
        let at = |kind: &str| format!("registers/{kind}/register.toml");
        let twice = folder.kinds.iter().filter_map(|kind| {
            let (_, pack) = self.kinds.get(&kind.id)?;
            let reason = format!("{:?} is a register of the pack {pack:?}", kind.id);
            Some(Wrong { file: at(&kind.id), line: 0, field: "kind".to_owned(), reason })
        });
        let all = self.kinds.values().map(|(kind, _)| kind.as_ref()).chain(&folder.kinds);
        let together = check_together(all).into_iter().map(|(kind, breach)| Wrong {
            file: at(&kind),
            line: breach.line,
            field: breach.field,
            reason: breach.reason,
        });
        let plan = folder.plan.iter().filter_map(|(plan, _)| {
            let known = self.plans.get(&plan.id)?;
            let reason = format!("{:?} is a plan of the pack {:?}", plan.id, known.pack);
            Some(Wrong { file: "plan.toml".to_owned(), line: 0, field: "id".to_owned(), reason })
        });
        twice.chain(together).chain(plan).chain(self.against_networking(folder)).chain(self.against_submissions(folder)).collect()
    }

    /// The kind of this word.
    ///
    /// # Errors
    /// Not found.
    pub fn kind(&self, id: &str) -> Result<Arc<Kind>, AppError> {
        self.kinds.get(id).map(|(kind, _)| Arc::clone(kind)).ok_or_else(|| AppError::new(Refusal::NotFound, "register.unknown"))
    }
}

/// The files of the built-in pack.
pub fn base_files() -> BTreeMap<String, String> {
    let text = |path: &str| Base::get(path).and_then(|file| String::from_utf8(file.data.into_owned()).ok());
    Base::iter().filter_map(|path| Some((path.to_string(), text(&path)?))).collect()
}

/// The working-day calendar of the built-in pack.
///
/// # Errors
/// A fault of the build.
pub fn calendar() -> Result<Calendar, AppError> {
    let text = base_files().remove("calendar.toml").unwrap_or_default();
    Calendar::parse(&text).map_err(|e| AppError { source: Some(e.into()), ..AppError::new(Refusal::Internal, "internal") })
}

/// How a pack stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackState {
    /// Part of the program, always on.
    BuiltIn,
    /// On, as it lies in the folder, or no longer in the folder.
    Enabled,
    /// On, but the folder holds another by now.
    Changed,
    /// Sound and off.
    Available,
    /// Not sound; off.
    Broken,
}

/// A pack as administrators see it.
#[derive(Clone, Debug)]
pub struct PackView {
    /// What it says of itself; of a broken one the folder's name alone.
    pub meta: PackMeta,
    /// Hash of the files in the folder, or of those that are on if it is no longer there.
    pub hash: String,
    /// How it stands.
    pub state: PackState,
    /// Whose it is by its signature: of the files in the folder, or of those that are on if it is no longer there.
    pub signature: Signature,
    /// The signature is by a key that the operator trusts.
    pub is_trusted: bool,
    /// Its registers: word, Chinese and English name.
    pub registers: Vec<(String, String, String)>,
    /// Its submissions: word, Chinese and English name, version.
    pub submissions: Vec<[String; 4]>,
    /// What is wrong with what lies in the folder.
    pub wrong: Vec<Wrong>,
    /// By whom it was last switched.
    pub changed_by: Option<String>,
    /// When.
    pub changed_at: Option<anlan_model::Timestamp>,
}

/// A pack in the operator's folder.
struct Found {
    id: String,
    files: BTreeMap<String, String>,
    hash: String,
    signature: Signature,
    folder: Folder,
}

/// Every pack there is.
///
/// # Errors
/// No permission to manage the system, the store's.
pub async fn list(app: &App, scope: &Scope) -> Result<Vec<PackView>, AppError> {
    scope.with(Permission::ManageSystem)?;
    let kept = app.store.packs().await?;
    let registers = app.registers.load_full();
    let mut views = vec![view(app, &base_found(), None, &registers)];
    let found = found(app).await?;
    let ids: BTreeSet<&str> = found.iter().map(|found| found.id.as_str()).collect();
    for gone in kept.iter().filter(|row| row.enabled && !ids.contains(row.id.as_str())) {
        let found = Found {
            id: gone.id.clone(),
            hash: gone.hash.clone(),
            signature: of_pack(&gone.files),
            folder: Folder::check(&gone.files),
            files: BTreeMap::new(),
        };
        views.push(view(app, &found, Some(gone), &registers));
    }
    // Data of the region, of the simulator: nothing of it is switched.
    let is_switched = |folder: &Folder| {
        !folder.kinds.is_empty() || folder.networking.is_some() || !folder.submissions.is_empty() || !folder.wrong.is_empty()
    };
    let found = found.iter().filter(|found| is_switched(&found.folder));
    views.extend(found.map(|found| view(app, found, kept.iter().find(|row| row.id == found.id), &registers)));
    Ok(views)
}

fn view(app: &App, found: &Found, row: Option<&PackRow>, registers: &Registers) -> PackView {
    let mut wrong = found.folder.wrong.clone();
    let state = match row.filter(|row| row.enabled) {
        _ if found.id == BASE => PackState::BuiltIn,
        // On, and none of its registers is there: it was left out at the start.
        Some(row) if row.hash == found.hash && !registers.uses(&found.id) => {
            wrong.extend(registers.against(&found.folder));
            PackState::Broken
        }
        Some(row) if row.hash == found.hash => PackState::Enabled,
        on => {
            wrong.extend(registers.without(&found.id).against(&found.folder));
            match on {
                Some(_) => PackState::Changed,
                None if wrong.is_empty() => PackState::Available,
                None => PackState::Broken,
            }
        }
    };
    let nameless = || PackMeta {
        id: found.id.clone(),
        name: found.id.clone(),
        name_en: found.id.clone(),
        version: String::new(),
        publisher: String::new(),
    };
    PackView {
        meta: found.folder.meta.clone().unwrap_or_else(nameless),
        hash: found.hash.clone(),
        state,
        is_trusted: matches!(&found.signature, Signature::By(key) if app.settings.trusted_keys.contains(key)),
        signature: found.signature.clone(),
        registers: found.folder.kinds.iter().map(|kind| (kind.id.clone(), kind.name.clone(), kind.name_en.clone())).collect(),
        submissions: (found.folder.submissions.iter())
            .map(|s| [s.id.clone(), s.name.clone(), s.name_en.clone(), s.version.clone()])
            .collect(),
        wrong,
        changed_by: row.map(|row| row.changed_by.clone()),
        changed_at: row.map(|row| row.changed_at),
    }
}

fn base_found() -> Found {
    let files = base_files();
    Found { id: BASE.to_owned(), hash: hash_of(&files), signature: Signature::Unsigned, folder: Folder::check(&files), files }
}

/// Switches on the pack as it lies in the folder; `hash` says what was read.
///
/// # Errors
/// No permission, not there, other files by now, anything wrong with it, records in states that it no longer knows.
pub async fn enable(app: &App, scope: &Scope, id: &str, hash: &str) -> Result<(), AppError> {
    let act = scope.with(Permission::ManageSystem)?;
    // One switch at a time: each is checked against the others.
    let _turn = app.switching.lock().await;
    let found = found(app).await?.into_iter().find(|found| found.id == id && id != BASE).ok_or_else(AppError::not_found)?;
    enable_found(app, &act, found, hash).await
}

/// The same for a pack wherever it was found; the caller holds the turn.
async fn enable_found(app: &App, act: &Scope, found: Found, hash: &str) -> Result<(), AppError> {
    let id = found.id.as_str();
    if found.hash != hash {
        return Err(AppError::conflict("pack.changed").on("hash"));
    }
    let signed_by = signer(app, &found.signature)?;
    let others = app.registers.load().without(id);
    let mut wrong = found.folder.wrong.clone();
    wrong.extend(others.against(&found.folder));
    // A register that goes, or belongs to somebody else from now on, would strand its records.
    let before = app.registers.load();
    for (kind, _) in before.kinds.values().filter(|(_, pack)| pack == id) {
        let after = found.folder.kinds.iter().find(|after| after.id == kind.id);
        if after.is_none_or(|after| after.owner != kind.owner) && !app.store.record_states(&kind.id).await?.is_empty() {
            let reason = format!("there are records of {:?}, which it no longer has, or for another sort of owner", kind.id);
            wrong.push(Wrong { file: format!("registers/{}/register.toml", kind.id), line: 0, field: "kind".to_owned(), reason });
        }
    }
    for kind in &found.folder.kinds {
        for state in app.store.record_states(&kind.id).await? {
            if kind.state(&state).is_none_or(|s| s.id == kind.start) {
                let reason = format!("there are records in the state {state:?}, which it does not have");
                wrong.push(Wrong { file: format!("registers/{}/register.toml", kind.id), line: 0, field: "state".to_owned(), reason });
            }
        }
    }
    if !wrong.is_empty() {
        let problem = |wrong: &Wrong| Problem {
            code: "pack.wrong",
            field: Some(wrong.file.clone()),
            params: BTreeMap::from([("wrong", wrong.to_string())]),
        };
        return Err(AppError { kind: Refusal::Invalid, problems: wrong.iter().take(50).map(problem).collect(), source: None });
    }
    app.store.put_pack(act, id, hash, Some((&found.files, signed_by.as_deref())), app.clock.now()).await?;
    renew(app).await?;
    // What lists, searches, tasks and deadlines know of its records follows from the register: from the new one now.
    for kind in &found.folder.kinds {
        record::renew(app, &kind.id).await?;
    }
    tell_again(app).await
}

/// Who signed it, as the audit tells; an unsigned one passes where no key is trusted.
fn signer(app: &App, signature: &Signature) -> Result<Option<String>, AppError> {
    let trusted = &app.settings.trusted_keys;
    match signature {
        Signature::Broken => Err(AppError::conflict("pack.signature_broken").on("signature")),
        Signature::Unsigned if trusted.is_empty() => Ok(None),
        Signature::Unsigned => Err(AppError::conflict("pack.unsigned").on("signature")),
        Signature::By(key) if trusted.is_empty() || trusted.contains(key) => Ok(Some(key.to_string())),
        Signature::By(key) => Err(AppError::conflict("pack.signer_unknown").on("signature").with("key", key)),
    }
}

/// Switches a pack off: its registers are no longer shown, their records stay.
///
/// # Errors
/// No permission, not on, registers of other packs that need it.
pub async fn disable(app: &App, scope: &Scope, id: &str) -> Result<(), AppError> {
    let act = scope.with(Permission::ManageSystem)?;
    let _turn = app.switching.lock().await;
    let row = app.store.packs().await?.into_iter().find(|row| row.id == id && row.enabled).ok_or_else(AppError::not_found)?;
    if let Some(wrong) = app.registers.load().without(id).against(&Folder::default()).first() {
        return Err(AppError::conflict("pack.needed").with("wrong", wrong));
    }
    app.store.put_pack(&act, id, &row.hash, None, app.clock.now()).await?;
    renew(app).await
}

/// Brings the records of the built-in registers up to date if another release made them; whether there was anything to do. A release may list,
/// search, compute or set deadlines otherwise than the one before.
///
/// # Errors
/// The store's; what was done until then stays done, and the next start does the rest.
pub async fn renew_base(app: &App) -> Result<bool, AppError> {
    let _turn = app.switching.lock().await;
    let now = base_hashes();
    let kept = app.store.setting(RENEWED).await?;
    let before: BTreeMap<String, String> = kept.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    if before == now {
        return Ok(false);
    }
    for kind in now.iter().filter(|(kind, hash)| before.get(*kind) != Some(hash)).map(|(kind, _)| kind) {
        record::renew(app, kind).await?;
    }
    note_base(app, &now).await?;
    Ok(true)
}

/// Notes by which registers a new node keeps its records, before there is one.
///
/// # Errors
/// The store's.
pub(crate) async fn begin_base(app: &App) -> Result<(), AppError> {
    let now = base_hashes();
    if app.store.setting(RENEWED).await?.is_some() {
        return Ok(());
    }
    for kind in now.keys() {
        if !app.store.record_states(kind).await?.is_empty() {
            return Ok(());
        }
    }
    note_base(app, &now).await
}

/// Tells the node above how the records of every register stand that says otherwise than before how far they go, or that is new to the network. Running twice does
/// no harm.
async fn tell_again(app: &App) -> Result<(), AppError> {
    // Whoever comes to be above is told of everything.
    if app.store.parent_node().is_none() {
        if app.store.setting(TOLD).await?.is_some_and(|told| told != "{}") {
            app.store.put_setting(&Scope::node(), TOLD, "{}", app.clock.now()).await?;
        }
        return Ok(());
    }
    let registers = app.registers.load_full();
    let kept = app.store.setting(TOLD).await?;
    let before: BTreeMap<String, serde_json::Value> = kept.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let mut told = before.clone();
    for (id, (kind, _)) in &registers.kinds {
        // The title of what is named goes no further than that.
        let named = kind.fields.iter().filter_map(|field| match &field.of {
            FieldType::Record { of, .. } => registers.kinds.get(of).map(|(of, _)| (&field.id, of.exchange.map(Exchange::as_str))),
            _ => None,
        });
        let said = serde_json::json!({"rules": kind.rules(), "named": named.collect::<BTreeMap<_, _>>()});
        if before.get(id) != Some(&said) {
            app.store.tell_records(id, app.clock.now()).await?;
            told.insert(id.clone(), said);
        }
    }
    if told != before {
        let text = serde_json::to_string(&told).unwrap_or_default();
        app.store.put_setting(&Scope::node(), TOLD, &text, app.clock.now()).await?;
    }
    Ok(())
}

async fn note_base(app: &App, hashes: &BTreeMap<String, String>) -> Result<(), AppError> {
    let text = serde_json::to_string(hashes).unwrap_or_default();
    Ok(app.store.put_setting(&Scope::node(), RENEWED, &text, app.clock.now()).await?)
}

/// Of each built-in register, the hash of what it is.
fn base_hashes() -> BTreeMap<String, String> {
    let base = base_found();
    // What a register is, and the data that all of them reckon with; not the other registers, and not what is for readers.
    let is_of = |path: &str, kind: &str| {
        !path.ends_with(".md") && path.strip_prefix("registers/").is_none_or(|rest| rest.starts_with(&format!("{kind}/")))
    };
    let hash =
        |kind: &str| hash_of(&base.files.iter().filter(|(path, _)| is_of(path, kind)).map(|(p, t)| (p.clone(), t.clone())).collect());
    base.folder.kinds.iter().map(|kind| (kind.id.clone(), hash(&kind.id))).collect()
}

/// The same at the start, beside everything else.
pub(crate) async fn renew_at_start(app: Arc<App>) {
    if let Err(failure) = renew_base(&app).await {
        warn!(
            error = &failure as &dyn std::error::Error,
            "records of the release before could not be brought up to date; next try at the next start"
        );
    }
    let _turn = app.switching.lock().await;
    if let Err(failure) = tell_again(&app).await {
        warn!(
            error = &failure as &dyn std::error::Error,
            "the node above could not be told of records whose register says otherwise than before how far they go; next try at the next start"
        );
    }
}

async fn renew(app: &App) -> Result<(), AppError> {
    let registers = Registers::load(&app.store).await?;
    registers.make_known(&app.store);
    app.registers.store(Arc::new(registers));
    Ok(())
}

/// The packs in the operator's folder, in order of names.
async fn found(app: &App) -> Result<Vec<Found>, AppError> {
    let Some(folder) = app.settings.packs.clone() else { return Ok(Vec::new()) };
    crate::point::off_thread(move || {
        let Ok(entries) = std::fs::read_dir(&folder) else { return Vec::new() };
        let mut paths: Vec<PathBuf> = entries.filter_map(Result::ok).map(|e| e.path()).filter(|path| path.is_dir()).collect();
        paths.sort();
        paths.iter().take(PACKS_MAX).filter_map(|path| look(path)).collect()
    })
    .await
}

fn look(path: &Path) -> Option<Found> {
    let id = path.file_name()?.to_str()?.to_owned();
    // The built-in pack is the program's, whatever lies in a folder of its name.
    if id == BASE {
        return None;
    }
    match collect(path) {
        Ok(files) => {
            let mut folder = Folder::check(&files);
            if folder.meta.as_ref().is_some_and(|meta| meta.id != id) {
                let reason = format!("is not the folder's name {id:?}");
                folder.wrong.push(Wrong { file: "pack.toml".to_owned(), line: 0, field: "id".to_owned(), reason });
            }
            Some(Found { hash: hash_of(&files), signature: of_pack(&files), id, folder, files })
        }
        Err(reason) => {
            let wrong = vec![Wrong { file: String::new(), line: 0, field: String::new(), reason }];
            let folder = Folder { wrong, ..Folder::default() };
            Some(Found { id, hash: String::new(), signature: Signature::Unsigned, folder, files: BTreeMap::new() })
        }
    }
}

/// SHA-256 over every path and text with their lengths, hexadecimal; without its signature, which is over this.
pub fn hash_of(files: &BTreeMap<String, String>) -> String {
    let mut hash = Sha256::new();
    for text in files.iter().filter(|(path, _)| *path != SIGNATURE_FILE).flat_map(|(path, text)| [path, text]) {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text.as_bytes());
    }
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

/// Reads the files below `pack` by their path in it, within the limits; no link is followed.
///
/// # Errors
/// What cannot be read or is more than a pack may be, in words.
pub fn collect(pack: &Path) -> Result<BTreeMap<String, String>, String> {
    let (mut files, mut bytes) = (BTreeMap::new(), 0);
    collect_in(pack, "", 0, &mut files, &mut bytes)?;
    Ok(files)
}

fn collect_in(pack: &Path, inside: &str, depth: usize, files: &mut BTreeMap<String, String>, bytes: &mut u64) -> Result<(), String> {
    let folder = pack.join(inside);
    let told = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    if depth > DEPTH_MAX {
        return Err(format!("{}: folders are at most {DEPTH_MAX} deep", folder.display()));
    }
    let mut entries = std::fs::read_dir(&folder).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(|e| told(&folder, e))?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let name = entry.file_name().into_string().map_err(|_| format!("{}: its name is no UTF-8", path.display()))?;
        let name = if inside.is_empty() { name } else { format!("{inside}/{name}") };
        // Of the entry itself, not of what a link points to.
        let kind = entry.file_type().map_err(|e| told(&path, e))?;
        if kind.is_dir() {
            collect_in(pack, &name, depth + 1, files, bytes)?;
        } else if kind.is_file() {
            *bytes += entry.metadata().map_err(|e| told(&path, e))?.len();
            if *bytes > BYTES_MAX || files.len() >= FILES_MAX {
                return Err(format!("{}: a pack has at most {FILES_MAX} files of {BYTES_MAX} bytes together", pack.display()));
            }
            let text = std::fs::read(&path).map_err(|e| told(&path, e))?;
            let text = String::from_utf8(text).map_err(|e| format!("{}: is no UTF-8 text: {e}", path.display()))?;
            files.insert(name, text);
        } else {
            return Err(format!("{}: is a link or no file; a pack has none", path.display()));
        }
    }
    Ok(())
}
