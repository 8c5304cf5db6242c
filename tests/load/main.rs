//! `rmail-load`: measures a running mail server over loopback, with blocking threads and no cleverness.
//!
//! It speaks clear text, so the server must allow a login there for 127.0.0.0/8 (`auth.cleartext_networks`) and lift the
//! per-address limits (`limits.trusted_networks`). Bounded in count and time; refuses anything but loopback.

mod awake;
mod compare;
mod cost;
mod fair;
mod figures;
mod growth;
mod http;
mod idle;
mod imap;
mod limits;
mod mail;
mod own;
mod processes;
mod relay;
mod servers;
mod smtp;
mod targets;
mod tls;
mod wire;

use std::net::{IpAddr, Ipv4Addr};

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(about = "Measures a mail server on loopback")]
struct Arguments {
    /// Address of the server; only loopback is allowed.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Keep processors from sleeping, as root: else times of single commands include waking one up, which on a virtual machine
    /// takes from 0.05 to 0.4 ms.
    #[arg(long, global = true)]
    awake: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Messages accepted a second on port 25.
    Smtp(smtp::Options),
    /// All SMTP figures: what is accepted counts when it is in the mailbox; of any server with IMAP.
    Mail(mail::Options),
    /// Messages relayed a second: from the queue to a sink that the tool is.
    Relay(relay::Options),
    /// Time of SELECT and of FETCH 1:* (UID FLAGS).
    Select(imap::Options),
    /// Time from the final dot to EXISTS at an idling client.
    Idle(idle::Options),
    /// All IMAP figures: fills its own mailboxes (load-flags, load-4k, load-1m), of any server.
    Imap(figures::Options),
    /// Puts messages into a mailbox with APPEND.
    Fill(imap::FillOptions),
    /// Handshakes of TLS a second.
    Tls(tls::Options),
    /// Requests of the HTTP API a second.
    Http(http::Options),
    /// Several servers in one run: medians, ratios, targets, and what the machine itself gives.
    Compare(compare::Options),
    /// How long a NOOP takes beside clients that ask for much, or read slowly.
    Fair(fair::Options),
    /// What a server costs that does nothing; the tool starts its own.
    Cost(cost::Options),
    /// How time and memory grow with what is there, as pictures; the tool starts its own server.
    Growth(growth::Options),
}

/// A figure with its name and unit.
type Figures = Vec<(String, f64, &'static str)>;

fn main() {
    let arguments = Arguments::parse();
    assert!(
        arguments.host.is_loopback(),
        "only loopback addresses are measured"
    );
    let host = arguments.host;
    let _awake = arguments.awake.then(awake::keep);
    let figures = match &arguments.command {
        Command::Smtp(options) => smtp::measure(host, options),
        Command::Mail(options) => mail::measure(host, options),
        Command::Relay(options) => relay::measure(host, options),
        Command::Select(options) => imap::measure(host, options),
        Command::Idle(options) => idle::measure(host, options),
        Command::Imap(options) => figures::measure(host, options),
        Command::Fill(options) => imap::fill(host, options),
        Command::Tls(options) => tls::measure(host, options),
        Command::Http(options) => http::measure(host, options),
        Command::Fair(options) => fair::measure(host, options),
        Command::Cost(options) => cost::measure(options),
        Command::Growth(options) => return growth::run(options),
        Command::Compare(options) => {
            let comparison = compare::measure(host, options);
            if arguments.json {
                println!("{}", comparison.json());
            } else {
                print!("{}", comparison.table(options.markdown));
            }
            return;
        }
    };
    if arguments.json {
        let map: serde_json::Map<_, _> = figures
            .into_iter()
            .map(|(name, value, _)| (name, serde_json::json!(value)))
            .collect();
        println!("{}", serde_json::Value::Object(map));
    } else {
        for (name, value, unit) in figures {
            println!("{name:<32} {value:>12.3} {unit}");
        }
    }
}

/// Median and 99th percentile of times in milliseconds.
fn percentiles(name: &str, mut times: Vec<f64>) -> Figures {
    times.sort_by(f64::total_cmp);
    let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)];
    vec![
        (format!("{name} p50"), at(50), "ms"),
        (format!("{name} p99"), at(99), "ms"),
    ]
}
