//! The record of an AOR on disk.
//!
//! ```text
//! version (1) | count (2) | count x binding
//! binding = recorded until (8) updated (8) granted (4) cseq (4) q (2) reg-id (4, 0 = none) transport (1)
//!           local source remote contact params call-id instance path
//!
//! in versions 1 and 2: binding = expires (8) updated (8) cseq (4) …, both times of the calendar and nothing granted;
//! version 1 has no path
//! address = 4 or 6 (1) | octets (4 or 16) | port (2)         text = length (2) | UTF-8
//! ```

use std::net::{IpAddr, SocketAddr};

use super::Binding;
use crate::aor::Aor;
use crate::token::{BindingId, transport_code, transport_of};

/// Why a record cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A newer program wrote it.
    #[error("binding record has unknown version {0}")]
    Version(u8),
    /// It is cut short or holds what no program wrote.
    #[error("binding record is damaged at octet {0}")]
    Damaged(usize),
}

const VERSION: u8 = 3;

pub(super) fn encode(bindings: &[Binding]) -> Vec<u8> {
    let mut out = Vec::with_capacity(3 + bindings.len() * 256);
    out.push(VERSION);
    out.extend_from_slice(&u16::try_from(bindings.len()).unwrap_or(u16::MAX).to_be_bytes());
    for binding in bindings.iter().take(usize::from(u16::MAX)) {
        let (instance, reg_id) = match &binding.instance {
            Some((instance, reg_id)) => (instance.as_ref(), *reg_id),
            None => ("", 0),
        };
        out.extend_from_slice(&binding.recorded_ms.to_be_bytes());
        out.extend_from_slice(&binding.updated_ms.to_be_bytes());
        out.extend_from_slice(&binding.granted.to_be_bytes());
        out.extend_from_slice(&binding.cseq.to_be_bytes());
        out.extend_from_slice(&binding.q.to_be_bytes());
        out.extend_from_slice(&reg_id.to_be_bytes());
        out.push(transport_code(binding.transport));
        put_address(&mut out, binding.local);
        put_address(&mut out, binding.source);
        put_address(&mut out, binding.remote);
        for text in [
            &binding.contact,
            &binding.params,
            &binding.call_id,
            instance,
            &binding.path,
        ] {
            put_text(&mut out, text);
        }
    }
    out
}

fn put_address(out: &mut Vec<u8>, address: SocketAddr) {
    match address.ip() {
        IpAddr::V4(ip) => {
            out.push(4);
            out.extend_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            out.push(6);
            out.extend_from_slice(&ip.octets());
        }
    }
    out.extend_from_slice(&address.port().to_be_bytes());
}

/// The table keeps no text longer than a kilooctet, so that the length always fits.
fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&u16::try_from(text.len()).unwrap_or(0).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// Reads a record; `now_ms` is when lifetimes begin that older versions counted by the calendar.
pub(super) fn decode(aor: &Aor, record: &[u8], now_ms: u64) -> Result<Vec<Binding>, DecodeError> {
    let mut reader = Reader {
        rest: record,
        len: record.len(),
    };
    let [version] = reader.take()?;
    if !(1..=VERSION).contains(&version) {
        return Err(DecodeError::Version(version));
    }
    let has_path = version > 1;
    let count = u16::from_be_bytes(reader.take()?);
    let mut bindings = Vec::new();
    for _ in 0..count {
        let times = match version {
            1 | 2 => reader.calendar_times(now_ms)?,
            _ => reader.times()?,
        };
        bindings.push(reader.binding(aor, has_path, times)?);
    }
    if reader.rest.is_empty() {
        Ok(bindings)
    } else {
        Err(reader.damaged())
    }
}

struct Times {
    recorded_ms: u64,
    updated_ms: u64,
    granted: u32,
}

struct Reader<'r> {
    rest: &'r [u8],
    len: usize,
}

impl Reader<'_> {
    fn damaged(&self) -> DecodeError {
        DecodeError::Damaged(self.len - self.rest.len())
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or_else(|| self.damaged())?;
        self.rest = rest;
        Ok(*head)
    }

    fn text(&mut self) -> Result<Box<str>, DecodeError> {
        let length = usize::from(u16::from_be_bytes(self.take()?));
        let (text, rest) = self.rest.split_at_checked(length).ok_or_else(|| self.damaged())?;
        let text = std::str::from_utf8(text).map_err(|_| self.damaged())?;
        self.rest = rest;
        Ok(text.into())
    }

    fn address(&mut self) -> Result<SocketAddr, DecodeError> {
        let [family] = self.take()?;
        let ip: IpAddr = match family {
            4 => self.take::<4>()?.into(),
            6 => self.take::<16>()?.into(),
            _ => return Err(self.damaged()),
        };
        Ok(SocketAddr::new(ip, u16::from_be_bytes(self.take()?)))
    }

    fn times(&mut self) -> Result<Times, DecodeError> {
        Ok(Times {
            recorded_ms: u64::from_be_bytes(self.take()?),
            updated_ms: u64::from_be_bytes(self.take()?),
            granted: u32::from_be_bytes(self.take()?),
        })
    }

    /// What lies between two times of the calendar is a lifetime, whatever the calendar says now.
    fn calendar_times(&mut self, now_ms: u64) -> Result<Times, DecodeError> {
        let expires_ms = u64::from_be_bytes(self.take()?);
        let updated_ms = u64::from_be_bytes(self.take()?);
        let granted_ms = expires_ms.saturating_sub(updated_ms);
        Ok(Times {
            recorded_ms: now_ms.saturating_add(granted_ms),
            updated_ms: now_ms,
            granted: u32::try_from(granted_ms / 1000).map_err(|_| self.damaged())?,
        })
    }

    fn binding(&mut self, aor: &Aor, has_path: bool, times: Times) -> Result<Binding, DecodeError> {
        let Times {
            recorded_ms,
            updated_ms,
            granted,
        } = times;
        let cseq = u32::from_be_bytes(self.take()?);
        let q = u16::from_be_bytes(self.take()?);
        let reg_id = u32::from_be_bytes(self.take()?);
        let [transport] = self.take()?;
        let transport = transport_of(transport).ok_or_else(|| self.damaged())?;
        let (local, source, remote) = (self.address()?, self.address()?, self.address()?);
        let (contact, params, call_id, instance) = (self.text()?, self.text()?, self.text()?, self.text()?);
        let path = if has_path { self.text()? } else { Box::default() };
        let instance = (reg_id > 0).then_some((instance, reg_id));
        let id = match &instance {
            Some((instance, reg_id)) => BindingId::of_instance(aor, instance, *reg_id),
            None => BindingId::of_contact(aor, &contact),
        };
        Ok(Binding {
            id,
            contact,
            params,
            path,
            instance,
            q,
            call_id,
            cseq,
            granted,
            updated_ms,
            expires_ms: recorded_ms,
            recorded_ms,
            transport,
            local,
            source,
            remote,
            connection: None,
        })
    }
}
