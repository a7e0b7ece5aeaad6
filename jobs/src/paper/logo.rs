//! The seller's logo: which pictures are taken, told by their first bytes and not by their names.

use std::path::Path;
use std::sync::Arc;

/// A PNG, JPEG or SVG picture.
#[derive(Clone)]
pub struct Logo {
    pub(super) bytes: Arc<[u8]>,
    pub(super) media_type: &'static str,
}

#[derive(Debug, thiserror::Error)]
pub enum LogoError {
    #[error("cannot read the logo {path}")]
    Unreadable {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("the logo {path} is neither PNG, JPEG nor SVG")]
    UnknownFormat { path: String },
}

impl Logo {
    pub fn read(path: &Path) -> Result<Logo, LogoError> {
        let name = || path.display().to_string();
        let bytes = std::fs::read(path).map_err(|source| LogoError::Unreadable { path: name(), source })?;
        Logo::of_bytes(bytes).ok_or_else(|| LogoError::UnknownFormat { path: name() })
    }

    /// Nothing if the bytes begin like no picture that papers can show.
    pub fn of_bytes(bytes: Vec<u8>) -> Option<Logo> {
        let media_type = match bytes.as_slice() {
            [0x89, b'P', b'N', b'G', ..] => "image/png",
            [0xff, 0xd8, 0xff, ..] => "image/jpeg",
            other => {
                let text = std::str::from_utf8(other).ok()?.trim_start_matches('\u{feff}').trim_start();
                let is_svg =
                    (text.starts_with("<svg") || text.starts_with("<?xml") || text.starts_with("<!"))
                        && text.contains("<svg");
                is_svg.then_some("image/svg+xml")?
            }
        };
        Some(Logo { bytes: bytes.into(), media_type })
    }

    /// The name under which the page finds it; its ending says the format.
    pub(super) fn file_name(&self) -> &'static str {
        match self.media_type {
            "image/png" => "logo.png",
            "image/jpeg" => "logo.jpg",
            _ => "logo.svg",
        }
    }
}

impl std::fmt::Debug for Logo {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Logo({}, {} bytes)", self.media_type, self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_by_their_bytes() {
        for (bytes, expected) in [
            (b"\x89PNG\r\n\x1a\n".as_slice(), Some("image/png")),
            (b"\xff\xd8\xff\xe0", Some("image/jpeg")),
            (b" <svg xmlns='http://www.w3.org/2000/svg'/>", Some("image/svg+xml")),
            (b"<?xml version='1.0'?><svg/>", Some("image/svg+xml")),
            (b"<?xml version='1.0'?><html/>", None),
            (b"GIF89a", None),
            (b"", None),
        ] {
            assert_eq!(Logo::of_bytes(bytes.to_vec()).map(|logo| logo.media_type), expected);
        }
    }
}
