//! When a minted certificate may sign once more.

use std::time::Duration;

/// A leaf ends at least this long after what it signs, so that clocks a day off at either side agree on its life.
const MARGIN: Duration = Duration::from_secs(3 * 86_400);

/// The life that a certificate must have left to sign a registration: its lifetime and the margin.
pub const SIGNS_REGISTRATION: Duration = Duration::from_secs(3600 + MARGIN.as_secs());

/// The life that it must have left to sign a tombstone, which storing peers keep 5 days longer than any registration.
pub const SIGNS_TOMBSTONE: Duration = Duration::from_secs(3600 + 5 * 86_400 + MARGIN.as_secs());

/// Tells whether a certificate that ends at `not_after_ms` may sign what needs this much life; else mint anew.
pub fn is_reusable(now_ms: u64, not_after_ms: u64, needed: Duration) -> bool {
    u128::from(not_after_ms.saturating_sub(now_ms)) >= needed.as_millis()
}
