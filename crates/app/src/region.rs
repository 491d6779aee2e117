//! Divisions whose codes have days (ADR 0015): rows are brought to the codes in force, scopes reach back to the codes of before.
//!
//! What is there now moves on the day a code is replaced, at the start or while the node runs; what happened keeps its code. Which code stands
//! on which day is decided by [`anlan_domain::division`]. Start at [`keep_up`].

use std::sync::Arc;
use std::time::Duration;

use anlan_domain::division::Divisions;
use anlan_model::noun::Grant;
use anlan_model::{Clock as _, Scope, Timestamp};
use anlan_store::{Moved, Redivision, Store};
use jiff::civil::Date;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::App;
use crate::clock::day_of;
use crate::error::AppError;
use crate::registry::Touched;

/// Whether a new day has begun is looked at this often; with the test clock also when it is moved.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// The scope with every grant for a division repeated for the codes that its territory had before: alarms, events and audit entries of then
/// carry those.
pub fn reaching_back(known: &Divisions, mut scope: Scope) -> Scope {
    let before = |grant: &Grant| {
        let codes = grant.region.as_ref().map(|code| known.before(code)).unwrap_or_default();
        codes.into_iter().map(|code| Grant { region: Some(code), ..grant.clone() }).collect::<Vec<_>>()
    };
    let more: Vec<Grant> = scope.grants.iter().flat_map(before).collect();
    for grant in more {
        if !scope.grants.contains(&grant) {
            scope.grants.push(grant);
        }
    }
    scope
}

/// Brings what the database holds to the codes in force on the day of `now`; that day, and what was moved. Running twice does no harm.
///
/// # Errors
/// The store's; what was moved until then stays moved.
pub(crate) async fn redivide(store: &Store, now: Timestamp) -> Result<(Date, Vec<Moved>), anlan_store::StoreError> {
    let known: Divisions = store.regions().await?.into_iter().collect();
    let today = day_of(now);
    let mut all = Vec::new();
    for (from, to, since) in known.replaced(today) {
        let moved = store.redivide(&Redivision { from: from.clone(), to: to.clone(), since: since.to_string() }, now).await?;
        if !moved.is_empty() {
            let Moved { enterprises, vehicles, records, people, duties } = &moved;
            let (enterprises, vehicles) = (enterprises.len(), vehicles.len());
            info!(enterprises, vehicles, records, people, duties, "division {from} is {to} since {since}: what is there was moved");
            all.push(moved);
        }
    }
    Ok((today, all))
}

/// Moves what a new day makes stale, and shows it; how much that was.
///
/// # Errors
/// The store's; the next look goes on.
pub async fn keep_up(app: &App) -> Result<usize, AppError> {
    let mut divided_on = app.divided_on.lock().await;
    if *divided_on == app.today() {
        return Ok(0);
    }
    let (today, all) = redivide(&app.store, app.clock.now()).await?;
    let enterprises = all.iter().flat_map(|moved| &moved.enterprises).map(|id| Touched::Enterprise(*id));
    let vehicles = all.iter().flat_map(|moved| &moved.vehicles).map(|id| Touched::Vehicle(*id));
    let touched: Vec<Touched> = enterprises.chain(vehicles).collect();
    let n = touched.len();
    if n > 0 {
        app.registry.renew(touched).await?;
    }
    *divided_on = today;
    Ok(n)
}

/// Keeps up with the days, until stopped.
pub async fn run(app: Arc<App>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        if let Err(failure) = keep_up(&app).await {
            warn!(error = &failure as &dyn std::error::Error, "divisions could not be brought up to date; next try within a minute");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anlan_model::{RegionCode, Role};

    #[test]
    fn a_grant_reaches_back_to_the_codes_of_before_and_not_forward() {
        let known = crate::rules::divisions().unwrap();
        let reach = |code: Option<&str>| {
            let grant = Grant { role: Role::Leader, region: code.and_then(RegionCode::new), sector: Some("gas".into()), enterprise: None };
            let scope = reaching_back(&known, Scope { user: None, name: String::new(), grants: vec![grant] });
            assert!(scope.grants.iter().all(|g| g.role == Role::Leader && g.sector.as_deref() == Some("gas")));
            scope.grants.into_iter().map(|g| g.region.map(|r| r.to_string()).unwrap_or_default()).collect::<Vec<_>>()
        };
        assert_eq!(reach(Some("530403")), ["530403", "530421"]);
        assert_eq!(reach(Some("530421")), ["530421"]);
        assert_eq!(reach(Some("530402")), ["530402"]);
        assert_eq!(reach(Some("5304")), ["5304"], "a city holds every code that begins with its own");
        assert_eq!(reach(None), [""]);
    }
}
