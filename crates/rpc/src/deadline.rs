//! The time a call may take. tonic looks at `grpc-timeout` only in its HTTP/2 transport, and then says CANCELLED; so
//! [`Channel`](crate::Channel) and [`Served`](crate::Served) apply it themselves, the same on every wiring.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;
use tonic::{Request, Status};

/// Until when an answer is of use; streams have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// A deadline `timeout` from now.
    #[must_use]
    pub fn after(timeout: Duration) -> Self {
        Self(Instant::now().checked_add(timeout))
    }

    /// Returns the deadline of a request that came through [`Served`](crate::Served).
    #[must_use]
    pub fn of<T>(request: &Request<T>) -> Self {
        request.extensions().get().copied().unwrap_or(Self(None))
    }

    /// The moment itself; `None` for a call without a deadline.
    #[must_use]
    pub fn instant(&self) -> Option<std::time::Instant> {
        self.0.map(Instant::into_std)
    }

    /// What is left; `None` for a call without a deadline.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.0.map(|instant| instant.saturating_duration_since(Instant::now()))
    }

    /// Makes a request of `message` that must be answered `margin` before this deadline, so that its failure can still
    /// be reported. Without a deadline the channel's default applies.
    #[must_use]
    pub fn pass<T>(&self, message: T, margin: Duration) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(remaining) = self.remaining() {
            request.set_timeout(remaining.saturating_sub(margin));
        }
        request
    }

    /// Reads `grpc-timeout`.
    ///
    /// # Errors
    /// INVALID_ARGUMENT when it is malformed.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Result<Self, Status> {
        let Some(value) = headers.get(HEADER) else {
            return Ok(Self(None));
        };
        let timeout = value.to_str().ok().and_then(parse);
        let timeout = timeout.ok_or_else(|| Status::invalid_argument(format!("malformed {HEADER} {value:?}")))?;
        Ok(Self::after(timeout))
    }

    /// Waits until the deadline has passed; for ever if there is none.
    pub(crate) async fn passed(self) {
        match self.0 {
            Some(instant) => tokio::time::sleep_until(instant).await,
            None => std::future::pending().await,
        }
    }
}

/// Makes a request without a deadline, for streams: they end by their own rules.
#[must_use]
pub fn unbounded<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(Unbounded);
    request
}

/// Marks a request made by [`unbounded`].
#[derive(Clone, Copy)]
pub(crate) struct Unbounded;

/// Gives the request its channel's default unless it has a deadline of its own or wants none; returns what applies.
pub(crate) fn complete<B>(request: &mut http::Request<B>, default: Duration) -> Result<Deadline, Status> {
    if request.extensions().get::<Unbounded>().is_some() {
        return Ok(Deadline(None));
    }
    if !request.headers().contains_key(HEADER) {
        request.headers_mut().insert(HEADER, format_milliseconds(default));
    }
    Deadline::from_headers(request.headers())
}

const HEADER: &str = "grpc-timeout";

/// The gRPC protocol allows at most eight digits.
const MAX_VALUE: u128 = 99_999_999;

fn format_milliseconds(timeout: Duration) -> HeaderValue {
    let text = format!("{}m", timeout.as_millis().min(MAX_VALUE));
    HeaderValue::try_from(text).expect("digits and a letter are a header value")
}

fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(value.checked_mul(3600)?)),
        "M" => Some(Duration::from_secs(value.checked_mul(60)?)),
        "S" => Some(Duration::from_secs(value)),
        "m" => Some(Duration::from_millis(value)),
        "u" => Some(Duration::from_micros(value)),
        "n" => Some(Duration::from_nanos(value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeout_is_read_in_every_unit() {
        assert_eq!(parse("2H"), Some(Duration::from_secs(7200)));
        assert_eq!(parse("3M"), Some(Duration::from_secs(180)));
        assert_eq!(parse("4S"), Some(Duration::from_secs(4)));
        assert_eq!(parse("5m"), Some(Duration::from_millis(5)));
        assert_eq!(parse("6u"), Some(Duration::from_micros(6)));
        assert_eq!(parse("99999999n"), Some(Duration::from_nanos(99_999_999)));
    }

    #[test]
    fn malformed_timeout_is_refused() {
        for text in ["", "m", "1", "-1m", "+1m", "1.5S", "123456789m", "1x", "1é"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn passing_on_leaves_a_margin() {
        let request = Deadline::after(Duration::from_millis(500)).pass((), Duration::from_millis(20));
        assert_eq!(request.metadata().get(HEADER).unwrap(), "480000u");
    }

    #[test]
    fn a_stream_gets_no_default() {
        let mut request = http::Request::new(());
        request.extensions_mut().insert(Unbounded);
        assert_eq!(complete(&mut request, Duration::from_secs(1)).unwrap(), Deadline(None));
        assert!(request.headers().is_empty());
    }
}
