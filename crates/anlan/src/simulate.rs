//! `anlan sim`: an invented city or a recorded table over real sockets, and the comparison with what the server kept.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anlan_app::clock::AppClock;
use anlan_sim::{Credentials, ReplayOptions, Scale, SimOptions, TerminalsOptions, World};
use anyhow::Context as _;
use clap::{Args, Subcommand};
use tokio_util::sync::CancellationToken;

use crate::serve;

/// Arguments of `sim`.
#[derive(Args)]
pub struct SimArgs {
    #[command(subcommand)]
    command: SimCommand,
}

#[derive(Subcommand)]
enum SimCommand {
    /// Play the city until stopped.
    Run(RunArgs),
    /// Register the city's enterprises, devices and points, and keep the device secrets.
    Provision(CityArgs),
    /// Compare a truth file with what the server kept; exit code 1 if something is missing or made up.
    Check {
        /// Truth file.
        #[arg(long)]
        truth: PathBuf,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Publish the columns of table files as points.
    Replay(ReplayArgs),
    /// Measure with thousands of JT/T 808 terminals that report every 10 to 30 s; prints what was measured as JSON.
    Terminals(TerminalsArgs),
}

/// Which server, and as whom.
#[derive(Args, Clone)]
struct ServerArgs {
    /// Address of console and API.
    #[arg(long, value_name = "URL")]
    server: String,
    /// Session token.
    #[arg(long, env = "ANLAN_TOKEN", conflicts_with = "user")]
    token: Option<String>,
    /// User name.
    #[arg(long, requires = "password")]
    user: Option<String>,
    /// Password.
    #[arg(long, env = "ANLAN_PASSWORD")]
    password: Option<String>,
}

impl ServerArgs {
    fn credentials(&self) -> anyhow::Result<Credentials> {
        match (&self.token, &self.user, &self.password) {
            (Some(token), _, _) => Ok(Credentials::Token(token.clone())),
            (None, Some(username), Some(password)) => Ok(Credentials::Password { username: username.clone(), password: password.clone() }),
            _ => anyhow::bail!("say who asks: --token T, or --user NAME --password P"),
        }
    }
}

/// Which city.
#[derive(Args, Clone)]
struct CityArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Where device secrets are kept.
    #[arg(long)]
    secrets: PathBuf,
    /// Same seed, same city, same play.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Enterprises.
    #[arg(long, default_value_t = Scale::default().enterprises)]
    enterprises: usize,
    /// Measuring points.
    #[arg(long, default_value_t = Scale::default().points)]
    points: usize,
    /// Vehicles.
    #[arg(long, default_value_t = Scale::default().vehicles)]
    vehicles: usize,
}

impl CityArgs {
    fn scale(&self) -> Scale {
        Scale { enterprises: self.enterprises, points: self.points, vehicles: self.vehicles }
    }
}

#[derive(Args)]
struct RunArgs {
    #[command(flatten)]
    city: CityArgs,
    /// `host:port` of the MQTT listener; absent: no devices.
    #[arg(long)]
    mqtt: Option<String>,
    /// `host:port` of the JT/T 808 listener; absent: no vehicles.
    #[arg(long)]
    jt808: Option<String>,
    /// Let controllers answer on loopback ports and tell the server to poll them; its `modbus.networks` must hold 127.0.0.1/32.
    #[arg(long)]
    modbus: bool,
    /// Truth file to write.
    #[arg(long)]
    truth: Option<PathBuf>,
    /// Script seconds per second.
    #[arg(long, default_value_t = 1.0)]
    speed: f64,
    /// End after so many script seconds.
    #[arg(long)]
    duration_s: Option<f64>,
    /// No incidents.
    #[arg(long)]
    calm: bool,
    /// Stamp device times by a shared test clock.
    #[arg(long, value_name = "FILE")]
    test_clock: Option<String>,
}

#[derive(Args)]
struct ReplayArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// `host:port` of the MQTT listener.
    #[arg(long)]
    mqtt: String,
    /// Seconds between rows in device time.
    #[arg(long, default_value_t = 180.0)]
    period_s: f64,
    /// Rows are sent this much faster.
    #[arg(long, default_value_t = 100.0)]
    speed: f64,
    /// Truth file to write.
    #[arg(long)]
    truth: Option<PathBuf>,
    /// Tables: numbers parted by white space, one row a sample; `.gz` is unpacked.
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

#[derive(Args)]
struct TerminalsArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// `host:port` of the JT/T 808 listener.
    #[arg(long)]
    jt808: String,
    /// Terminals, one connection each.
    #[arg(long, default_value_t = 10_000)]
    count: usize,
    /// How long, once all are connected.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// New connections per second.
    #[arg(long, default_value_t = 500.0)]
    connect_per_s: f64,
    /// Process id of the server on this machine, to read its memory and CPU.
    #[arg(long)]
    pid: Option<u32>,
    /// Same seed, same fleet.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Runs `sim`.
pub fn run(args: SimArgs) -> anyhow::Result<ExitCode> {
    serve::start_logging(&serve::load(None)?);
    match args.command {
        SimCommand::Check { truth, server } => {
            let report = anlan_sim::check(&truth, &server.server, &server.credentials()?)?;
            println!("{report}");
            Ok(if report.ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        SimCommand::Provision(city) => {
            let api = anlan_sim::api::Api::sign_in(&city.server.server, &city.server.credentials()?)?;
            let enterprises = anlan_sim::provision(&api, &World::new(city.seed, city.scale()), &city.secrets)?;
            println!("{} enterprises", enterprises.len());
            Ok(ExitCode::SUCCESS)
        }
        SimCommand::Run(run) => {
            let clock = run.test_clock.as_deref().map_or(Ok(AppClock::real()), AppClock::test).context("--test-clock")?;
            let options = SimOptions {
                mqtt: run.mqtt,
                jt808: run.jt808,
                modbus: run.modbus,
                http: Some(run.city.server.server.clone()),
                credentials: Some(run.city.server.credentials()?),
                secrets: run.city.secrets.clone(),
                seed: run.city.seed,
                stories: !run.calm,
                scale: run.city.scale(),
                part: anlan_sim::Part::All,
                truth: run.truth,
                speed: run.speed,
                clock: Arc::new(clock),
                stop: CancellationToken::new(),
                duration_s: run.duration_s,
            };
            until_signal(options.stop.clone(), async move {
                let summary = anlan_sim::run(options).await?;
                println!("{summary:?}");
                anyhow::Ok(())
            })
        }
        SimCommand::Terminals(terminals) => {
            serve::open_files_for(terminals.count)?;
            let options = TerminalsOptions {
                jt808: terminals.jt808,
                live: Some((terminals.server.server.clone(), terminals.server.credentials()?)),
                count: terminals.count,
                duration: std::time::Duration::try_from_secs_f64(terminals.minutes * 60.0).context("--minutes")?,
                connect_per_s: terminals.connect_per_s,
                pid: terminals.pid,
                seed: terminals.seed,
                stop: CancellationToken::new(),
            };
            until_signal(options.stop.clone(), async move {
                println!("{}", serde_json::to_string(&anlan_sim::terminals::run(options).await?)?);
                anyhow::Ok(())
            })
        }
        SimCommand::Replay(replay) => {
            let options = ReplayOptions {
                files: replay.files,
                mqtt: replay.mqtt,
                credentials: replay.server.credentials()?,
                http: replay.server.server,
                period_s: replay.period_s,
                speed: replay.speed,
                truth: replay.truth,
                clock: Arc::new(AppClock::real()),
                stop: CancellationToken::new(),
            };
            until_signal(options.stop.clone(), async move {
                let summary = anlan_sim::replay(options).await?;
                println!("{summary:?}");
                anyhow::Ok(())
            })
        }
    }
}

/// Runs `play`; a signal asks it to end in order.
fn until_signal(stop: CancellationToken, play: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<ExitCode> {
    serve::runtime()?.block_on(async {
        tokio::pin!(play);
        tokio::select! {
            done = &mut play => done?,
            signal = serve::signal() => {
                signal?;
                stop.cancel();
                play.await?;
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}
