//! Requests a second of the HTTP API, over connections that stay open.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::processes::Processes;
use crate::{Figures, percentiles};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Port of the API (clear text).
    #[arg(long)]
    pub(crate) port: u16,
    /// What is asked for with GET.
    #[arg(long, default_value = "/health")]
    pub(crate) path: String,
    /// Name of the environment variable with a token for `Authorization: Bearer`.
    #[arg(long)]
    pub(crate) token_env: Option<String>,
    /// Connections at the same time.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=200))]
    pub(crate) connections: u16,
    /// Requests in all.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) requests: u32,
    /// Name of the server's processes (`comm`), for their time; may be given several times.
    #[arg(long)]
    pub(crate) process: Vec<String>,
}

pub(crate) fn measure(host: IpAddr, options: &Options) -> Figures {
    let token = options.token_env.as_ref().map(|name| {
        let token = std::env::var(name).expect("the token's environment variable");
        format!("Authorization: Bearer {token}\r\n")
    });
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: localhost\r\n{}\r\n",
        options.path,
        token.unwrap_or_default()
    );
    let share = options.requests.div_ceil(u32::from(options.connections));
    let processes = Processes(&options.process);
    let (cpu, begun) = (processes.cpu(), Instant::now());
    let times: Vec<f64> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..options.connections)
            .map(|_| scope.spawn(|| ask(host, options.port, request.as_bytes(), share)))
            .collect();
        clients
            .into_iter()
            .flat_map(|client| client.join().expect("a client"))
            .collect()
    });
    let (seconds, count) = (begun.elapsed().as_secs_f64(), times.len() as f64);
    let name = format!("HTTP GET {}", options.path);
    let mut figures = vec![(name.clone(), count / seconds, "requests/s")];
    if let (Some(before), Some(after)) = (cpu, processes.cpu()) {
        let each = after.saturating_sub(before).as_secs_f64() * 1000.0 / count;
        figures.push((format!("{name}: CPU of the server for one"), each, "ms"));
    }
    figures.extend(percentiles(&name, times));
    figures
}

fn ask(host: IpAddr, port: u16, request: &[u8], count: u32) -> Vec<f64> {
    let stream = TcpStream::connect((host, port)).expect("the server listens");
    stream.set_nodelay(true).expect("nodelay");
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("time-out");
    let mut stream = BufReader::new(stream);
    let mut once = || {
        let begun = Instant::now();
        stream.get_mut().write_all(request).expect("the server reads");
        answer(&mut stream);
        begun.elapsed().as_secs_f64() * 1000.0
    };
    (0..count).map(|_| once()).collect()
}

/// Reads one answer, which must be a 200 with its length.
fn answer(stream: &mut BufReader<TcpStream>) {
    let (mut line, mut length) = (String::new(), None);
    stream.read_line(&mut line).expect("an answer in time");
    assert!(line.starts_with("HTTP/1.1 200 "), "{line}");
    loop {
        line.clear();
        stream.read_line(&mut line).expect("a header in time");
        let field = line.trim_end().to_ascii_lowercase();
        if field.is_empty() {
            break;
        }
        if let Some(value) = field.strip_prefix("content-length:") {
            length = Some(value.trim().parse::<u64>().expect("a number"));
        }
    }
    let length = length.expect("Content-Length");
    std::io::copy(&mut stream.take(length), &mut std::io::sink()).expect("the content");
}
