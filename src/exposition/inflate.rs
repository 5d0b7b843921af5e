//! Gzip, unpacked under a cap.

use std::io::Read;

use flate2::bufread::MultiGzDecoder;

const CHUNK: usize = 16 * 1024;

/// Why a compressed body could not be unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InflateError {
    /// It unpacks to more than the cap.
    #[error("the body unpacks to more than {cap} bytes")]
    TooLarge {
        /// The cap in bytes.
        cap: usize,
    },
    /// It is not gzip, is damaged, or was cut off.
    #[error("the body is not valid gzip: damaged or cut off")]
    Corrupt,
}

/// Unpacks a gzip body (RFC 1952, several members allowed) of at most `cap` bytes.
///
/// Works in chunks and never allocates more than `cap` plus one chunk, whatever the body claims to hold.
///
/// # Errors
/// [`InflateError::TooLarge`] as soon as the cap is passed; [`InflateError::Corrupt`] for anything but whole gzip.
pub fn inflate(body: &[u8], cap: usize) -> Result<Vec<u8>, InflateError> {
    let mut decoder = MultiGzDecoder::new(body);
    let mut out = Vec::new();
    let mut chunk = [0; CHUNK];
    loop {
        let read = decoder.read(&mut chunk).map_err(|_| InflateError::Corrupt)?;
        if read == 0 {
            return Ok(out);
        }
        let needed = out.len() + read;
        if needed > cap {
            return Err(InflateError::TooLarge { cap });
        }
        if needed > out.capacity() {
            // Doubling as `Vec` does, but never past the cap.
            let capacity = needed.max(out.capacity() * 2).min(cap);
            out.reserve_exact(capacity - out.len());
        }
        out.extend_from_slice(&chunk[..read]);
    }
}
