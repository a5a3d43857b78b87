//! `health`: what a container runtime asks, from inside the container, where there is neither shell nor curl.

mod http;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use rpc::{Channel, Role};
use runtime::ExitCode;
use serde::{Deserialize, Serialize};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::cli::Global;
use crate::failure::{Failure, reason};
use crate::node::Part;
use crate::output::Printer;

/// Which process to ask.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The component to ask, at its own port of this host [default: whichever answers]
    #[arg(value_name = "COMPONENT", conflicts_with = "address")]
    part: Option<Part>,
    /// Where the process tells its health: http://HOST:PORT for /readyz, or unix:PATH for grpc.health.v1
    #[arg(long, value_name = "URL", env = "P2PSIP_HEALTH")]
    address: Option<Address>,
    /// The contract to ask for with unix:PATH, such as p2psip.storage.v1.Storage [default: the whole process]
    #[arg(long, value_name = "NAME", default_value = "")]
    service: String,
}

/// Asks, and prints the answer; the code says whether it was a good one.
pub(crate) async fn run(arguments: &Arguments, global: &Global, printer: &Printer) -> Result<ExitCode, Failure> {
    let mut answer = Err(Failure::usage("no address to ask"));
    for address in arguments.addresses() {
        let asking = ask(&address, &arguments.service);
        let late = |_| Unanswered::Late(global.timeout);
        let health = tokio::time::timeout(global.timeout, asking)
            .await
            .map_err(late)
            .flatten();
        let is_gone = matches!(health, Err(Unanswered::Gone(_)));
        answer = health.map_err(|error| error.at(&address)).map(|health| Report {
            schema: "p2psip.health/v1",
            address: address.to_string(),
            health,
        });
        if !is_gone {
            break;
        }
    }
    let report = answer?;
    printer.result(&report, Report::text)?;
    Ok(if report.health.ready {
        ExitCode::Ok
    } else {
        ExitCode::Degraded
    })
}

impl Arguments {
    /// Where to ask, the first that answers.
    fn addresses(&self) -> Vec<Address> {
        let at_port = |part: &Part| Address::Http(format!("127.0.0.1:{}", part.admin_port()));
        match (&self.address, &self.part) {
            (Some(address), _) => vec![address.clone()],
            (None, Some(part)) => vec![at_port(part)],
            (None, None) => [Part::Peer, Part::Storage, Part::SipEdge, Part::Bootstrap]
                .iter()
                .map(at_port)
                .collect(),
        }
    }
}

async fn ask(address: &Address, service: &str) -> Result<Health, Unanswered> {
    match address {
        Address::Http(host) => readyz(host).await,
        Address::Unix(path) => {
            // Over a Unix socket nobody shows a certificate, so the role of the process does not matter.
            let channel = Channel::connect(&rpc::Address::Unix(path.into()), Role::Overlay, None);
            let channel = channel.map_err(|error| Unanswered::Foreign(error.to_string()))?;
            serving(channel, service).await
        }
    }
}

/// `/readyz?verbose`: 200 when ready, 503 when not, with the reasons in both.
async fn readyz(host: &str) -> Result<Health, Unanswered> {
    let answer = http::get(host, "/readyz?verbose").await?;
    if !matches!(answer.status, 200 | 503) {
        return Err(Unanswered::Foreign(format!("it answers {} to /readyz", answer.status)));
    }
    let health: Health = serde_json::from_slice(&answer.body)
        .map_err(|error| Unanswered::Foreign(format!("its /readyz is not understood: {error}")))?;
    Ok(Health {
        // The status is what counts; a body that says otherwise is not believed.
        ready: health.ready && answer.status == 200,
        ..health
    })
}

async fn serving(channel: Channel, service: &str) -> Result<Health, Unanswered> {
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    let answer = HealthClient::new(channel).check(request).await?.into_inner();
    Ok(match answer.status() {
        ServingStatus::Serving => Health {
            ready: true,
            reasons: Vec::new(),
        },
        other => Health {
            ready: false,
            reasons: vec![other.as_str_name().to_lowercase().replace('_', " ")],
        },
    })
}

/// Where to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Address {
    /// `host:port` of the administration's HTTP.
    Http(String),
    /// A component's socket.
    Unix(String),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(host) = text.strip_prefix("http://") {
            let host = host.strip_suffix('/').unwrap_or(host);
            let has_port = host
                .rsplit_once(':')
                .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
            if has_port && !host.contains('/') {
                return Ok(Self::Http(host.to_owned()));
            }
        }
        match text.strip_prefix("unix:") {
            Some(path) if !path.is_empty() => Ok(Self::Unix(path.to_owned())),
            _ => Err("give http://HOST:PORT or unix:PATH".to_owned()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(host) => write!(f, "http://{host}"),
            Self::Unix(path) => write!(f, "unix:{path}"),
        }
    }
}

/// Why there is no answer to go by.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    #[error("cannot be reached: {0}")]
    Gone(#[from] std::io::Error),
    #[error("cannot be asked: {}", reason(.0))]
    Refused(#[from] tonic::Status),
    #[error("did not answer within {}", runtime::units::format_duration(*.0))]
    Late(Duration),
    #[error("is no p2psip: {0}")]
    Foreign(String),
}

impl Unanswered {
    fn at(self, address: &Address) -> Failure {
        let code = match &self {
            Self::Late(_) => ExitCode::Timeout,
            Self::Gone(_) | Self::Refused(_) | Self::Foreign(_) => ExitCode::Unreachable,
        };
        Failure::new(code, anyhow::anyhow!("{address} {self}"))
    }
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    address: String,
    #[serde(flatten)]
    health: Health,
}

/// What a process says of itself, as far as this command needs it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Health {
    ready: bool,
    #[serde(default)]
    reasons: Vec<String>,
}

impl Report {
    fn text(&self) -> String {
        let Health { ready, reasons } = &self.health;
        match (ready, reasons.as_slice()) {
            (true, _) => "ready\n".to_owned(),
            (false, []) => "not ready\n".to_owned(),
            (false, reasons) => format!("not ready: {}\n", reasons.join("; ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// A process that answers once.
    async fn answering(status: &'static str, body: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let length = stream.read(&mut request).await.unwrap();
            assert!(request[..length].starts_with(b"GET /readyz?verbose HTTP/1.0\r\n"));
            let answer = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        address
    }

    #[tokio::test]
    async fn readyz_tells_why_not() {
        let ready = readyz(&answering("200 OK", r#"{"ready":true,"joined":true,"reasons":[]}"#).await).await;
        assert!(ready.unwrap().ready);
        let host = answering("503 Service Unavailable", r#"{"ready":false,"reasons":["alone"]}"#).await;
        let expected = Health {
            ready: false,
            reasons: vec!["alone".to_owned()],
        };
        assert_eq!(readyz(&host).await.unwrap(), expected);
    }

    #[tokio::test]
    async fn another_server_is_no_health() {
        for (status, body) in [("404 Not Found", ""), ("200 OK", "<html>")] {
            let outcome = readyz(&answering(status, body).await).await;
            assert!(matches!(outcome, Err(Unanswered::Foreign(_))), "{outcome:?}");
        }
    }

    #[tokio::test]
    async fn nobody_there_is_unreachable() {
        // Bound and closed again: nobody else listens on it meanwhile.
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let failure = readyz(&free.to_string())
            .await
            .unwrap_err()
            .at(&Address::Http(free.to_string()));
        assert_eq!(failure.code(), ExitCode::Unreachable);
        assert!(failure.to_string().contains(&free.to_string()), "{failure}");
    }

    #[test]
    fn addresses_are_of_two_sorts() {
        let parsed = |text: &str| text.parse::<Address>().map(|address| address.to_string()).ok();
        assert_eq!(parsed("http://[::1]:9090/").as_deref(), Some("http://[::1]:9090"));
        assert_eq!(parsed("unix:/run/x.sock").as_deref(), Some("unix:/run/x.sock"));
        for wrong in [
            "https://localhost:9090",
            "http://localhost",
            "http://h:1/path",
            "unix:",
            "",
        ] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
    }
}
