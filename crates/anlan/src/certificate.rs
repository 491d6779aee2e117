//! `anlan certificate`: is a certificate genuine, without any node; and which key signs those of a node.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anlan_app::certificate::{self, Code};
use anlan_app::clock::{AppClock, day_of};
use anlan_app::signing::PublicKey;
use anlan_domain::register::certificate::Text;
use anlan_model::Clock as _;
use anlan_store::Store;
use anyhow::Context as _;
use serde_json::json;

use crate::serve;

/// What to do with certificates.
#[derive(clap::Subcommand)]
pub enum CertificateCommand {
    /// Check a certificate without a node, and print what it says as JSON. Exit code 0 if one of the keys signed it, else 1.
    ///
    /// A good signature proves what the node said when it signed. Whether it still holds (suspended, revoked) only the node knows.
    Verify {
        /// Public keys that are believed, as `anlan certificate key` prints them.
        #[arg(long, required = true)]
        key: Vec<PublicKey>,
        /// The text of the QR code, or `-` to read it from standard input.
        #[arg(default_value = "-")]
        text: String,
    },
    /// Print the public key that signs the certificates of a node. The node may be running.
    Key {
        /// Data directory.
        #[arg(long)]
        data: PathBuf,
        /// Configuration file.
        #[arg(long)]
        config: Option<PathBuf>,
        /// Make a new key, as where the file was lost or read by others. What the keys before signed stays good; the file of the last one is put
        /// aside.
        #[arg(long)]
        new: bool,
    },
}

/// Runs `certificate`.
pub fn run(command: CertificateCommand) -> anyhow::Result<ExitCode> {
    match command {
        CertificateCommand::Verify { key, text } => verify(&key, text),
        CertificateCommand::Key { data, config, new } => {
            let config = serve::load(config.as_deref())?;
            anyhow::ensure!(data.is_dir(), "{} is no data directory of a node", data.display());
            serve::runtime()?.block_on(async {
                let store = Store::open(&serve::store_url(&config, &data)).await.context("open the database")?;
                let key = match new {
                    true => Some(certificate::make_key(&store, &data, AppClock::real().now()).await.context("make the key")?),
                    false => certificate::key(&store, &data).await?,
                };
                match key {
                    Some(key) => {
                        println!("{}", key.public());
                        Ok(ExitCode::SUCCESS)
                    }
                    None => {
                        eprintln!("anlan: this node has no key yet: its first certificate makes one, or --new");
                        Ok(ExitCode::FAILURE)
                    }
                }
            })
        }
    }
}

fn verify(keys: &[PublicKey], text: String) -> anyhow::Result<ExitCode> {
    let text = match text.as_str() {
        "-" => {
            let mut read = String::new();
            // More than a certificate is none; it is not read to its end.
            std::io::stdin().take(64 << 10).read_to_string(&mut read).context("read standard input")?;
            read
        }
        _ => text,
    };
    let code = match text.parse::<Code>() {
        Ok(code) => code,
        Err(failure) => {
            println!("{}", json!({"signature": "malformed", "why": failure.to_string()}));
            return Ok(ExitCode::FAILURE);
        }
    };
    let Some(by) = keys.iter().find(|key| code.is_by(key)) else {
        let word = if keys.iter().any(|key| key.id() == code.said.key) { "wrong" } else { "key_unknown" };
        // What nobody vouches for is not repeated.
        println!("{}", json!({"signature": word, "key_id": code.said.key}));
        return Ok(ExitCode::FAILURE);
    };
    let said = code.said;
    let shown = |text: &Text| json!({"text": text.text, "cut": text.is_cut});
    let fields: Vec<_> = said.fields.iter().map(|(id, value)| json!({"id": id, "value": shown(value)})).collect();
    let today = day_of(AppClock::real().now());
    println!(
        "{}",
        json!({
            "signature": "good",
            "key": by,
            "says": {
                "key": said.key, "kind": said.kind, "record": said.record, "number": said.number, "issued_at": said.issued_at.to_string(),
                "until": said.until.map(|day| day.to_string()), "code": said.code, "owner": shown(&said.owner), "fields": fields,
            },
            "over": said.until.is_some_and(|until| until < today),
            "not_proven": "that it is still in force: ask the node",
        })
    );
    Ok(ExitCode::SUCCESS)
}
