//! Combination rules (组合规则): conditions of one enterprise's points that raise an alarm of their own when they come together.
//!
//! Whoever may set limits of the points may combine them. What a combination means is said in `domain::combination`; anything wider than
//! one enterprise is no combination but a reconciler over committed alarms.

use anlan_model::noun::{Combination, CombinationMember, Point};
use anlan_model::{Clock as _, CombinationId, EnterpriseId, Permission, RuleKind, Scope};
use anlan_store::StoreError;
pub use anlan_store::{CombinationChange, CombinationRow, NewCombination};

use crate::App;
use crate::error::{AppError, Faults};
use crate::registry::{Snapshot, Touched};
use crate::validate::{self, Page, Paging};

/// Most combinations of one enterprise.
const PER_ENTERPRISE: u32 = 100;
/// Most members of one.
const MEMBERS_MAX: usize = 16;
/// Longest time within which members may come together, seconds.
const WITHIN_S_MAX: f64 = 3_600.0;
/// Rules of a point that can be members.
const KINDS: [RuleKind; 8] =
    [RuleKind::Hh, RuleKind::H, RuleKind::L, RuleKind::Ll, RuleKind::Rate, RuleKind::Stale, RuleKind::OutOfRange, RuleKind::FlatLine];

/// A combination and what it looks at.
#[derive(Clone, Debug, PartialEq)]
pub struct CombinationView {
    /// The row.
    pub row: CombinationRow,
    /// In the order of its members.
    pub members: Vec<MemberView>,
}

/// A member as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct MemberView {
    /// What must stand.
    pub member: CombinationMember,
    /// Name of the point.
    pub point_name: String,
    /// Whether the point is judged by such a rule; without one the member never stands.
    pub judged: bool,
}

fn is_judged(app: &App, point: &Point, kind: RuleKind) -> bool {
    app.rules.for_point(point).iter().any(|rule| rule.kind == kind)
}

fn view(app: &App, known: &Snapshot, row: CombinationRow) -> CombinationView {
    let one = |member: &CombinationMember| {
        let point = known.points.get(&member.point);
        MemberView {
            member: *member,
            point_name: point.map(|p| p.name.clone()).unwrap_or_default(),
            judged: point.is_some_and(|p| is_judged(app, p, member.kind)),
        }
    };
    CombinationView { members: row.combination.members.iter().map(one).collect(), row }
}

/// A page of combinations the asker may see.
///
/// # Errors
/// No permission to view, a foreign cursor.
pub async fn list(app: &App, scope: &Scope, enterprise: Option<EnterpriseId>, paging: &Paging) -> Result<Page<CombinationView>, AppError> {
    let page = app.store.combinations(&scope.with(Permission::View)?, enterprise, paging).await?;
    let known = app.registry.get();
    Ok(Page { items: page.items.into_iter().map(|row| view(app, &known, row)).collect(), next: page.next })
}

/// One combination.
///
/// # Errors
/// Not there or not visible.
pub async fn get(app: &App, scope: &Scope, id: CombinationId) -> Result<CombinationView, AppError> {
    let row = app.store.combination(&scope.with(Permission::View)?, id).await?;
    Ok(view(app, &app.registry.get(), row))
}

/// Makes a combination; it is judged from the moment this answers.
///
/// # Errors
/// No permission there, fields that cannot be accepted, as many as an enterprise may have.
pub async fn create(app: &App, scope: &Scope, wish: NewCombination) -> Result<CombinationView, AppError> {
    let act = scope.with(Permission::ManageLimits)?;
    // Before anything is said about its points.
    app.store.enterprise(&act, wish.enterprise).await.map_err(|e| match e {
        StoreError::NotFound => StoreError::Missing { field: "enterprise" },
        other => other,
    })?;
    let mut faults = Faults::default();
    let new = NewCombination {
        name: faults.note(validate::name("name", &wish.name)).unwrap_or_default(),
        source: faults.note(validate::source_named("source", &wish.source)).unwrap_or_default(),
        ..wish
    };
    check(app, new.enterprise, new.needed, new.within_s, Some(&new.members), new.members.len(), &mut faults);
    faults.check()?;
    let made = app.store.create_combination(&act, &new, PER_ENTERPRISE, app.clock.now()).await?;
    app.registry.renew([Touched::Combination(made.enterprise, made.id)]).await?;
    get(app, scope, made.id).await
}

/// Changes a combination. An alarm of it that stands is judged anew.
///
/// # Errors
/// No permission there, a stale revision, fields that cannot be accepted.
pub async fn update(app: &App, scope: &Scope, id: CombinationId, change: CombinationChange) -> Result<CombinationView, AppError> {
    let act = scope.with(Permission::ManageLimits)?;
    let before = manageable(app, scope, &act, id).await?;
    let mut faults = Faults::default();
    let change = CombinationChange {
        name: change.name.and_then(|v| faults.note(validate::name("name", &v))),
        source: change.source.and_then(|v| faults.note(validate::source_named("source", &v))),
        ..change
    };
    // Members that stay as they are may have lost their rule meanwhile; that is shown, and no reason to refuse another name.
    let members = change.members.as_deref().filter(|members| *members != before.members);
    let n = change.members.as_ref().map_or(before.members.len(), Vec::len);
    check(
        app,
        before.enterprise,
        change.needed.unwrap_or(before.needed),
        change.within_s.unwrap_or(before.within_s),
        members,
        n,
        &mut faults,
    );
    faults.check()?;
    app.store.update_combination(&act, id, &change, app.clock.now()).await?;
    app.registry.renew([Touched::Combination(before.enterprise, id)]).await?;
    get(app, scope, id).await
}

/// Deletes a combination as of `revision`; an alarm of it that stands returns.
///
/// # Errors
/// No permission there, not there or not visible, a stale revision.
pub async fn delete(app: &App, scope: &Scope, id: CombinationId, revision: i64) -> Result<(), AppError> {
    let act = scope.with(Permission::ManageLimits)?;
    let before = manageable(app, scope, &act, id).await?;
    app.store.delete_combination(&act, id, revision, app.clock.now()).await?;
    app.registry.renew([Touched::Combination(before.enterprise, id)]).await?;
    Ok(())
}

/// The combination, if it is visible and may be changed there.
async fn manageable(app: &App, scope: &Scope, act: &Scope, id: CombinationId) -> Result<Combination, AppError> {
    app.store.combination(&scope.with(Permission::View)?, id).await?;
    let row = app.store.combination(act, id).await.map_err(|e| crate::point::within(e, Permission::ManageLimits))?;
    Ok(row.combination)
}

fn check(
    app: &App,
    enterprise: EnterpriseId,
    needed: u32,
    within_s: f64,
    members: Option<&[CombinationMember]>,
    n_members: usize,
    faults: &mut Faults,
) {
    if !(2..=MEMBERS_MAX).contains(&n_members) {
        let fault = AppError::invalid("combination.members", "members").with("min", 2).with("max", MEMBERS_MAX);
        faults.note::<()>(Err(fault));
        return;
    }
    if !(2..=n_members).contains(&(needed as usize)) {
        faults.note::<()>(Err(AppError::invalid("number.range", "needed").with("min", 2).with("max", n_members)));
    }
    faults.note(validate::between("within_s", within_s, WITHIN_S_MAX));
    let known = app.registry.get();
    let members = members.unwrap_or_default();
    for (i, member) in members.iter().enumerate() {
        let field = |name: &str| format!("members[{i}].{name}");
        if members[..i].contains(member) {
            faults.note::<()>(Err(AppError::invalid("combination.twice", &field("point"))));
        }
        // A point of somebody else is refused like one that is not there.
        match known.points.get(&member.point).filter(|p| p.enterprise == Some(enterprise)) {
            None => _ = faults.note::<()>(Err(AppError::invalid("combination.elsewhere", &field("point")))),
            // Its alarms are raised at home, and here nobody hears its conditions.
            Some(point) if known.mirrored.contains_key(&point.id) => {
                faults.note::<()>(Err(AppError::invalid("combination.mirrored", &field("point")).with("point", &point.name)));
            }
            Some(_) if !KINDS.contains(&member.kind) => {
                faults.note::<()>(Err(AppError::invalid("word.unknown", &field("kind")).with("word", member.kind.as_str())));
            }
            Some(point) if !is_judged(app, point, member.kind) => {
                faults.note::<()>(Err(AppError::invalid("combination.no_rule", &field("kind")).with("point", &point.name)));
            }
            Some(_) => {}
        }
    }
}
