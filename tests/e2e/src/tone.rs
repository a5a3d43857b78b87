//! Tones in WAV files: made for one phone to play, found in what the other recorded.

use std::f32::consts::TAU;
use std::fs;
use std::io;
use std::path::Path;

const RATE: u32 = 8000;

/// Writes `seconds` of a sine of `hertz` as 16-bit mono WAV.
///
/// # Errors
/// When the file cannot be written.
pub fn write(path: &Path, hertz: f32, seconds: u32) -> io::Result<()> {
    let samples = seconds * RATE;
    let mut wav = Vec::with_capacity(44 + samples as usize * 2);
    wav.extend_from_slice(b"RIFF");
    wav.extend_from_slice(&(36 + samples * 2).to_le_bytes());
    wav.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    wav.extend_from_slice(&RATE.to_le_bytes());
    wav.extend_from_slice(&(RATE * 2).to_le_bytes());
    wav.extend_from_slice(b"\x02\0\x10\0data");
    wav.extend_from_slice(&(samples * 2).to_le_bytes());
    for n in 0..samples {
        let value = (TAU * hertz * n as f32 / RATE as f32).sin() * 12_000.0;
        wav.extend_from_slice(&(value as i16).to_le_bytes());
    }
    fs::write(path, wav)
}

/// The share of the signal's energy that lies at `hertz`, from 0 to 1, in the loudest second of a 16-bit mono WAV file.
///
/// # Errors
/// When the file cannot be read or holds no sound.
pub fn share(path: &Path, hertz: f32) -> io::Result<f32> {
    let wav = fs::read(path)?;
    // The header of a recording still being written gives no length, so the samples are taken to the end of the file.
    let data = wav.get(44..).unwrap_or_default();
    let rate = wav.get(24..28).map_or(RATE, |octets| {
        u32::from_le_bytes([octets[0], octets[1], octets[2], octets[3]])
    });
    let samples: Vec<f32> = data
        .chunks_exact(2)
        .map(|pair| f32::from(i16::from_le_bytes([pair[0], pair[1]])))
        .collect();
    samples
        .chunks(rate as usize)
        .map(|second| (energy(second), second))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(energy, _)| *energy > 0.0)
        .map(|(total, second)| goertzel(second, hertz, rate as f32) / total)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("{} holds no sound", path.display())))
}

fn energy(samples: &[f32]) -> f32 {
    samples.iter().map(|sample| sample * sample).sum()
}

/// Energy of one frequency (Goertzel's algorithm), scaled so that a pure tone gives all of [`energy`].
fn goertzel(samples: &[f32], hertz: f32, rate: f32) -> f32 {
    let coefficient = 2.0 * (TAU * hertz / rate).cos();
    let (last, before) = samples.iter().fold((0.0, 0.0), |(last, before), sample| {
        (sample + coefficient * last - before, last)
    });
    (last * last + before * before - coefficient * last * before) * 2.0 / samples.len() as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_is_found_and_another_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tone.wav");
        write(&file, 440.0, 2).unwrap();
        assert!(share(&file, 440.0).unwrap() > 0.9);
        assert!(share(&file, 700.0).unwrap() < 0.1);
    }
}
