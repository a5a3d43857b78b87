//! What a message may cost before it is refused, applied before anything is allocated for it.

/// The largest message: what a UDP datagram can hold; a stream's Content-Length is held to the same.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// The most header lines; a request that crossed 70 proxies has about 160.
pub const MAX_HEADERS: usize = 256;

/// The longest header line, its continuation lines included.
pub const MAX_HEADER: usize = 8 * 1024;

/// The most continuation lines of one header.
pub const MAX_FOLDS: usize = 16;
