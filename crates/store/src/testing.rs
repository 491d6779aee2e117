//! Fresh databases for tests, always of both kinds. Behind the feature `testing`; never in the product.
//!
//! PostgreSQL is found at `$ANLAN_TEST_POSTGRES` (URL of a server where databases may be made); without it a throwaway cluster is
//! started from the programs of an installed PostgreSQL, shared by all test processes of this user and stopped by itself a few
//! seconds after the last of them has ended. Start at [`on_both`].

use std::fs::File;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{Connection as _, PgConnection};

use crate::Store;

/// Runs `suite` on an empty SQLite database and on an empty PostgreSQL database. Prints `skipped` and goes on if there is no
/// PostgreSQL on this machine.
///
/// # Panics
/// If a database cannot be made, or if the suite panics.
pub async fn on_both<F: Future<Output = ()>>(suite: impl Fn(Store) -> F) {
    on_both_at(|store, _| suite(store)).await;
}

/// [`on_both`], with the address of the database, for [`tamper`].
///
/// # Panics
/// As [`on_both`].
pub async fn on_both_at<F: Future<Output = ()>>(suite: impl Fn(Store, String) -> F) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let url = sqlite_url(directory.path());
    let store = small(Store::open(&url).await.expect("an empty SQLite database"));
    suite(store.clone(), url).await;
    store.close().await;

    let Some(server) = postgres_server() else {
        println!("skipped: 1 (no PostgreSQL: neither $ANLAN_TEST_POSTGRES nor initdb)");
        return;
    };
    let database = Database::create(server).await;
    let store = small(Store::open(&database.url).await.expect("an empty PostgreSQL database"));
    suite(store.clone(), database.url.clone()).await;
    store.close().await;
    database.remove().await;
}

/// Suites hold some sixty records: of those a dozen are few, so that every way to begin a list is taken.
fn small(mut store: Store) -> Store {
    store.bounds = crate::record::Bounds { few: 12, very_few: 3 };
    store
}

/// The address of a SQLite database in `directory`.
pub fn sqlite_url(directory: &Path) -> String {
    format!("sqlite:{}", directory.join("anlan.sqlite").display())
}

/// A database of its own on the test server.
pub struct Database {
    /// Its address.
    pub url: String,
    name: String,
    server: &'static str,
}

impl Database {
    /// Makes an empty database.
    ///
    /// # Panics
    /// If the server refuses.
    pub async fn create(server: &'static str) -> Self {
        static N: AtomicU32 = AtomicU32::new(0);
        // The time keeps a reused process id from meeting what a killed test left behind.
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let name = format!("anlan_test_{}_{}_{}", since.as_millis(), std::process::id(), N.fetch_add(1, Ordering::Relaxed));
        run(server, &format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")).await;
        let (base, query) = server.split_once('?').map_or((server, ""), |(base, query)| (base, query));
        let slash = base.rfind('/').expect("an address has a slash");
        Self { url: format!("{}/{name}?{query}", &base[..slash]), name, server }
    }

    /// Removes it.
    ///
    /// # Panics
    /// If the server refuses.
    pub async fn remove(self) {
        run(self.server, &format!("DROP DATABASE {} WITH (FORCE)", self.name)).await;
    }
}

/// Runs a statement behind the store's back.
///
/// # Panics
/// If the database refuses.
pub async fn tamper(url: &str, text: &'static str) {
    let db = crate::db::Db::open(url).await.expect("the database opens");
    let mut tx = db.begin().await.expect("a transaction begins");
    tx.script(text.to_owned()).await.expect("the statement runs");
    tx.commit().await.expect("the transaction commits");
    db.close().await;
}

/// Names and digests of the migrations, in order.
pub fn migrations() -> Vec<(&'static str, String)> {
    crate::migrate::list().collect()
}

/// Makes a database as a release with only the first `n` migrations left it, and runs `rows` in it.
///
/// # Panics
/// If the database refuses.
pub async fn of_schema(url: &str, n: usize, rows: String) {
    let db = crate::db::Db::open(url).await.expect("the database opens");
    crate::migrate::migrate_to(&db, anlan_model::Timestamp::EPOCH, n).await.expect("the migrations run");
    let mut tx = db.begin().await.expect("a transaction begins");
    tx.script(rows).await.expect("the statements run");
    tx.commit().await.expect("the transaction commits");
    db.close().await;
}

/// Answer of a query for one number.
///
/// # Panics
/// If the database refuses.
pub async fn number(store: &Store, text: &'static str) -> i64 {
    let row = store.db.row(crate::db::sql(text)).await.expect("the query runs").expect("a row");
    row.get("n").expect("a number n")
}

async fn run(server: &str, text: &str) {
    let mut connection = PgConnection::connect(server).await.expect("the test server answers");
    sqlx::raw_sql(sqlx::AssertSqlSafe(text.to_owned())).execute(&mut connection).await.expect("the test server obeys");
    connection.close().await.expect("the connection closes");
}

/// Address of a server where tests may make databases; `None` if there is none and none can be started.
pub fn postgres_server() -> Option<&'static str> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    SERVER.get_or_init(find_server).as_ref().map(|server| server.url.as_str())
}

struct Server {
    url: String,
    /// Held as long as this process lives: the reaper waits for everybody's.
    _in_use: Option<File>,
}

fn find_server() -> Option<Server> {
    if let Ok(url) = std::env::var("ANLAN_TEST_POSTGRES") {
        return Some(Server { url, _in_use: None });
    }
    let bin = postgres_programs()?;
    let root = Command::new("id").arg("-u").output().is_ok_and(|out| out.stdout == b"0\n");
    let user = std::env::var("USER").unwrap_or_else(|_| if root { "root" } else { "user" }.to_owned());
    let home = std::env::temp_dir().join(format!("anlan-test-postgres-{user}"));
    std::fs::create_dir_all(&home).expect("a directory for the test cluster");
    let in_use = lock_file(&home, "in-use");
    in_use.lock_shared().expect("the lock of the test cluster");
    // One process starts it, the others wait here.
    let starting = lock_file(&home, "starting");
    starting.lock().expect("the lock of the test cluster");
    if !home.join("socket").exists() {
        start(&home, &bin, root)?;
    }
    drop(starting);
    let url = format!("postgres://postgres@localhost/postgres?host={}", home.join("socket").display());
    Some(Server { url, _in_use: Some(in_use) })
}

fn lock_file(home: &Path, name: &str) -> File {
    File::options().create(true).truncate(false).write(true).open(home.join(name)).expect("a lock file")
}

fn postgres_programs() -> Option<PathBuf> {
    let in_path = std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect::<Vec<_>>()).unwrap_or_default();
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    in_path.into_iter().chain(debian).find(|dir| dir.join("initdb").exists() && dir.join("pg_ctl").exists())
}

fn start(home: &Path, bin: &Path, root: bool) -> Option<()> {
    let (data, socket) = (home.join("data"), home.join("socket"));
    let _ = std::fs::remove_dir_all(&data);
    // initdb refuses to run as root; the server's own user needs a directory it may write to.
    let as_user = |program: &str| {
        let mut command = if root { Command::new("runuser") } else { Command::new(bin.join(program)) };
        if root {
            command.args(["-u", "postgres", "--"]).arg(bin.join(program));
        }
        command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    std::fs::create_dir_all(&socket).ok()?;
    std::fs::create_dir_all(&data).ok()?;
    let started = (|| {
        if root && !Command::new("chown").arg("postgres").args([&data, &socket]).status().ok()?.success() {
            return None;
        }
        let mut initdb = as_user("initdb");
        initdb.args(["--auth=trust", "--username=postgres", "--no-sync", "--encoding=UTF8"]).arg("-D").arg(&data);
        let made = initdb.status().ok()?.success();
        let options = format!("-k {} -c listen_addresses='' -c fsync=off -c max_connections=200", socket.display());
        let mut pg_ctl = as_user("pg_ctl");
        pg_ctl.args(["start", "-w", "-t", "60", "-o", &options]).arg("-D").arg(&data).arg("-l").arg(data.join("server.log"));
        (made && pg_ctl.status().ok()?.success()).then_some(())
    })();
    if started.is_none() {
        let _ = std::fs::remove_dir_all(&socket);
        return None;
    }
    reap_when_unused(home, bin, root);
    Some(())
}

/// Leaves behind a shell that stops the cluster once no test process holds the lock, and removes its files.
fn reap_when_unused(home: &Path, bin: &Path, root: bool) {
    let stop = format!("{}{}/pg_ctl stop -m immediate -D data", if root { "runuser -u postgres -- " } else { "" }, bin.display());
    // flock keeps the lock while it stops the server: a test that begins now waits and then starts a new one.
    let script = format!("while sleep 5; do flock --nonblock in-use sh -c '{stop}; rm -rf data socket' && exit; done");
    let mut reaper = Command::new("setsid");
    reaper.args(["sh", "-c", &script]).current_dir(home).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if let Err(error) = reaper.spawn() {
        println!("the test cluster in {} must be stopped by hand: {error}", home.display());
    }
}
