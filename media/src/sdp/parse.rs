//! SDP text to types (RFC 8866), with what WebRTC adds to it. Unknown attributes are skipped; what is known has to be
//! right, or the description is refused with the number of the line.
//!
//! Reading decides nothing: which codec, which direction, which transport is the matter of `negotiate`.

use std::{collections::BTreeMap, net::SocketAddr};

use super::{
    description::{CandidateLine, Description, Direction, ExtMap, FormatLine, MediaSection, Setup, TransportLines},
    error::SdpError,
};

/// Longest description that is read, in bytes. A browser's offer of 16 m-lines is a third of it.
pub const DESCRIPTION_BYTES_MAX: usize = 128 * 1024;
/// Most lines of a description.
pub const LINES_MAX: usize = 2_000;
/// Longest line, in bytes. The longest that browsers write is an `a=fingerprint` of SHA-512, some 210 bytes.
pub const LINE_BYTES_MAX: usize = 4 * 1024;
/// Most m-lines of a description.
pub const MEDIA_LINES_MAX: usize = 64;
/// Most payload types of one m-line. Chromium offers some 40 for video.
pub const FORMATS_MAX: usize = 96;
/// Most `a=extmap` lines of one m-line. Chromium offers 15.
pub const EXTMAPS_MAX: usize = 64;
/// Most `a=ssrc` numbers, and most `a=ssrc-group:FID` lines, of one m-line. Simulcast in three layers has six.
pub const SSRCS_MAX: usize = 32;
/// Candidates that are kept of one m-line. More are skipped, not refused: a client with many virtual interfaces has them,
/// and the server, being ICE-lite, sends to none of them before it is sent to.
pub const CANDIDATES_MAX: usize = 32;
/// Most `a=rtcp-fb` values of one payload type.
pub const FEEDBACK_MAX: usize = 16;
/// Fingerprints that are kept of one m-line; aiortc gives three.
pub const FINGERPRINTS_MAX: usize = 8;
/// Longest `a=mid` value, in bytes.
pub const MID_BYTES_MAX: usize = 32;
/// Lengths that RFC 8839 §5.4 allows for `a=ice-ufrag`, in characters.
pub const UFRAG_CHARS: std::ops::RangeInclusive<usize> = 4..=256;
/// Lengths that RFC 8839 §5.4 allows for `a=ice-pwd`, in characters.
pub const PWD_CHARS: std::ops::RangeInclusive<usize> = 22..=256;
/// Highest RTP payload type (RFC 3550 §5.1, seven bits).
pub const PAYLOAD_TYPE_MAX: u8 = 127;

impl Description {
    /// Reads a description.
    ///
    /// # Errors
    /// The first thing that is wrong, with its line; see [`SdpError`]. Never panics.
    pub fn parse(text: &str) -> Result<Description, SdpError> {
        if text.len() > DESCRIPTION_BYTES_MAX {
            return Err(SdpError::TooLarge { max: DESCRIPTION_BYTES_MAX });
        }
        let mut reader = Reader::default();
        let mut seen_version = false;
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            if number > LINES_MAX {
                return Err(SdpError::TooMany { line: number, what: "lines", max: LINES_MAX });
            }
            if line.len() > LINE_BYTES_MAX {
                return Err(malformed(number, "the line is longer than 4096 bytes"));
            }
            let line = line.trim_end();
            if line.is_empty() {
                continue;
            }
            let (letter, value) = line.split_once('=').ok_or(malformed(number, "not of the form letter=value"))?;
            if !seen_version {
                if letter != "v" || value != "0" {
                    return Err(malformed(number, "a description begins with v=0"));
                }
                seen_version = true;
                continue;
            }
            match letter {
                "o" => reader.description.version = value.split(' ').nth(2).and_then(|v| v.parse().ok()).unwrap_or(0),
                "m" => reader.media_line(number, value)?,
                "a" => {
                    let (name, value) = value.split_once(':').unwrap_or((value, ""));
                    reader.attribute(number, name, value)?;
                }
                _ => {}
            }
        }
        if !seen_version {
            return Err(malformed(1, "a description begins with v=0"));
        }
        reader.finish()
    }
}

fn malformed(line: usize, what: &'static str) -> SdpError {
    SdpError::Malformed { line, what }
}

/// The description as far as it is read.
#[derive(Default)]
struct Reader {
    description: Description,
    session_transport: TransportLines,
    session_direction: Option<Direction>,
    current: Option<Section>,
}

/// The m-line that is being read.
struct Section {
    media: MediaSection,
    direction: Option<Direction>,
    /// The payload types of the m-line, in order.
    payload_types: Vec<u8>,
    formats: BTreeMap<u8, FormatLine>,
    feedback_for_all: Vec<String>,
}

impl Reader {
    fn media_line(&mut self, line: usize, value: &str) -> Result<(), SdpError> {
        self.close_section()?;
        if self.description.media.len() >= MEDIA_LINES_MAX {
            return Err(SdpError::TooMany { line, what: "m-lines", max: MEDIA_LINES_MAX });
        }
        let mut fields = value.split_ascii_whitespace();
        let (Some(media), Some(port), Some(protocol)) = (fields.next(), fields.next(), fields.next()) else {
            return Err(malformed(line, "an m-line is media, port, protocol and formats"));
        };
        // Both are repeated in the answer.
        if ![media, protocol].iter().all(|field| field.bytes().all(|byte| is_token_byte(byte) || byte == b'/')) {
            return Err(malformed(line, "the media or the protocol of the m-line is not a token"));
        }
        // "port/number" is allowed by the grammar; WebRTC never uses the number.
        let port = port.split('/').next().unwrap_or_default();
        let port = port.parse().map_err(|_| malformed(line, "the port is not a number up to 65535"))?;
        let format_fields: Vec<String> = fields.take(FORMATS_MAX + 1).map(str::to_owned).collect();
        if format_fields.len() > FORMATS_MAX {
            return Err(SdpError::TooMany { line, what: "formats", max: FORMATS_MAX });
        }
        let mut section = Section {
            direction: None,
            payload_types: Vec::new(),
            formats: BTreeMap::new(),
            feedback_for_all: Vec::new(),
            media: MediaSection {
                line,
                media: media.to_ascii_lowercase(),
                port,
                protocol: protocol.to_owned(),
                format_fields,
                ..MediaSection::default()
            },
        };
        if section.is_rtp() {
            for field in &section.media.format_fields {
                let payload_type = payload_type(line, field)?;
                if !section.payload_types.contains(&payload_type) {
                    section.payload_types.push(payload_type);
                }
            }
        }
        self.current = Some(section);
        Ok(())
    }

    fn attribute(&mut self, line: usize, name: &str, value: &str) -> Result<(), SdpError> {
        let transport = match &mut self.current {
            Some(section) => &mut section.media.transport,
            None => &mut self.session_transport,
        };
        match name {
            "ice-ufrag" => transport.ufrag = Some(ice_chars(line, value, UFRAG_CHARS, "a=ice-ufrag is not valid")?),
            "ice-pwd" => transport.pwd = Some(ice_chars(line, value, PWD_CHARS, "a=ice-pwd is not valid")?),
            "fingerprint" => {
                if let Some(fingerprint) = fingerprint(line, value)?
                    && transport.fingerprints.len() < FINGERPRINTS_MAX
                {
                    transport.fingerprints.push(fingerprint);
                }
            }
            "setup" => {
                let wrong = malformed(line, "a=setup is active, passive, actpass or holdconn");
                transport.setup = Some(Setup::from_name(value).ok_or(wrong)?);
            }
            _ => match &mut self.current {
                Some(section) => section.attribute(line, name, value)?,
                None => self.session_attribute(line, name, value)?,
            },
        }
        Ok(())
    }

    fn session_attribute(&mut self, line: usize, name: &str, value: &str) -> Result<(), SdpError> {
        match name {
            "ice-lite" => self.description.ice_lite = true,
            "extmap-allow-mixed" => self.description.extmap_allow_mixed = true,
            "group" => {
                let mut fields = value.split_ascii_whitespace();
                if fields.next() == Some("BUNDLE") {
                    if self.description.bundles.len() >= MEDIA_LINES_MAX {
                        return Err(SdpError::TooMany { line, what: "BUNDLE groups", max: MEDIA_LINES_MAX });
                    }
                    let mids: Vec<String> = fields.take(MEDIA_LINES_MAX + 1).map(str::to_owned).collect();
                    if mids.len() > MEDIA_LINES_MAX {
                        return Err(SdpError::TooMany {
                            line,
                            what: "m-lines in a BUNDLE group",
                            max: MEDIA_LINES_MAX,
                        });
                    }
                    self.description.bundles.push(mids);
                }
            }
            _ => self.session_direction = Direction::from_name(name).or(self.session_direction),
        }
        Ok(())
    }

    fn close_section(&mut self) -> Result<(), SdpError> {
        let Some(section) = self.current.take() else { return Ok(()) };
        let media = section.finish(&self.session_transport, self.session_direction);
        if media.mid.is_some() && self.description.media.iter().any(|other| other.mid == media.mid) {
            return Err(SdpError::DuplicateMid { line: media.line });
        }
        self.description.media.push(media);
        Ok(())
    }

    fn finish(mut self) -> Result<Description, SdpError> {
        self.close_section()?;
        Ok(self.description)
    }
}

impl Section {
    fn is_rtp(&self) -> bool {
        matches!(self.media.media.as_str(), "audio" | "video")
    }

    fn attribute(&mut self, line: usize, name: &str, value: &str) -> Result<(), SdpError> {
        let media = &mut self.media;
        match name {
            "mid" => {
                if value.is_empty() || value.len() > MID_BYTES_MAX || !value.bytes().all(is_token_byte) {
                    return Err(malformed(line, "a=mid is not a token of at most 32 characters"));
                }
                media.mid = Some(value.to_owned());
            }
            "rtcp-mux" => media.rtcp_mux = true,
            "rtcp-rsize" => media.rtcp_rsize = true,
            "bundle-only" => media.bundle_only = true,
            "simulcast" => media.simulcast = true,
            "extmap-allow-mixed" => media.extmap_allow_mixed = true,
            "crypto" => media.crypto_line = media.crypto_line.or(Some(line)),
            "extmap" if self.is_rtp() => self.extmap(line, value)?,
            "ssrc" => self.ssrc(line, value)?,
            "ssrc-group" => self.ssrc_group(line, value)?,
            "candidate" => self.candidate(line, value)?,
            "rtpmap" | "fmtp" | "rtcp-fb" if self.is_rtp() => self.format(line, name, value)?,
            _ => self.direction = Direction::from_name(name).or(self.direction),
        }
        Ok(())
    }

    fn extmap(&mut self, line: usize, value: &str) -> Result<(), SdpError> {
        let wrong = || malformed(line, "a=extmap is a number, an optional direction and a URI");
        let mut fields = value.split_ascii_whitespace();
        let (Some(id), Some(uri)) = (fields.next(), fields.next()) else { return Err(wrong()) };
        let (id, direction) = match id.split_once('/') {
            Some((id, direction)) => (id, Some(Direction::from_name(direction).ok_or_else(wrong)?)),
            None => (id, None),
        };
        let id: u16 = id.parse().map_err(|_| wrong())?;
        // 0 is padding, 15 stops a one-byte header, and from 256 on (up to 4351) numbers are only proposals
        // (RFC 8285 §4.2, §5): none of them can be used, so the line says nothing to us.
        if id == 0 || id == 15 || id > 255 {
            return Ok(());
        }
        if self.media.extmaps.len() >= EXTMAPS_MAX {
            return Err(SdpError::TooMany { line, what: "header extensions in an m-line", max: EXTMAPS_MAX });
        }
        self.media.extmaps.push(ExtMap { id: id as u8, direction, uri: uri.to_owned() });
        Ok(())
    }

    fn ssrc(&mut self, line: usize, value: &str) -> Result<(), SdpError> {
        let number = value.split(' ').next().unwrap_or_default();
        let ssrc = number.parse().map_err(|_| malformed(line, "a=ssrc does not begin with a 32-bit number"))?;
        if !self.media.ssrcs.contains(&ssrc) {
            if self.media.ssrcs.len() >= SSRCS_MAX {
                return Err(SdpError::TooMany { line, what: "SSRCs in an m-line", max: SSRCS_MAX });
            }
            self.media.ssrcs.push(ssrc);
        }
        Ok(())
    }

    fn ssrc_group(&mut self, line: usize, value: &str) -> Result<(), SdpError> {
        let mut fields = value.split_ascii_whitespace();
        if fields.next() != Some("FID") {
            return Ok(());
        }
        let mut next = || fields.next().and_then(|f| f.parse::<u32>().ok());
        let (Some(source), Some(rtx)) = (next(), next()) else {
            return Err(malformed(line, "a=ssrc-group:FID names two 32-bit numbers"));
        };
        if self.media.fid_groups.len() >= SSRCS_MAX {
            return Err(SdpError::TooMany { line, what: "SSRC groups in an m-line", max: SSRCS_MAX });
        }
        self.media.fid_groups.push((source, rtx));
        Ok(())
    }

    fn candidate(&mut self, line: usize, value: &str) -> Result<(), SdpError> {
        let fields: Vec<&str> = value.split_ascii_whitespace().take(8).collect();
        let [_foundation, component, protocol, priority, address, port, "typ", _] = fields[..] else {
            return Err(malformed(line, "a=candidate has too few fields"));
        };
        let priority = priority.parse().map_err(|_| malformed(line, "the candidate's priority is not a number"))?;
        let port: u16 =
            port.parse().map_err(|_| malformed(line, "the candidate's port is not a number up to 65535"))?;
        let tcp = protocol.eq_ignore_ascii_case("tcp");
        if component != "1" || !(tcp || protocol.eq_ignore_ascii_case("udp")) {
            return Ok(());
        }
        if let Ok(ip) = address.parse()
            && self.media.candidates.len() < CANDIDATES_MAX
        {
            self.media.candidates.push(CandidateLine { addr: SocketAddr::new(ip, port), tcp, priority });
        }
        Ok(())
    }

    fn format(&mut self, line: usize, name: &str, value: &str) -> Result<(), SdpError> {
        let Some((number, rest)) = value.split_once(' ') else {
            return Err(malformed(line, "a payload type and a value are needed"));
        };
        let rest = rest.trim();
        if name == "rtcp-fb" && number == "*" {
            if self.feedback_for_all.len() < FEEDBACK_MAX {
                self.feedback_for_all.push(rest.to_owned());
            }
            return Ok(());
        }
        let payload_type = payload_type(line, number)?;
        // At most 128 entries, since a payload type has seven bits.
        let format = self.formats.entry(payload_type).or_insert_with(|| FormatLine {
            payload_type,
            channels: 1,
            ..FormatLine::default()
        });
        match name {
            "rtpmap" => {
                let mut fields = rest.split('/');
                let name = fields.next().unwrap_or_default().trim();
                let rate = fields.next().and_then(|rate| rate.trim().parse().ok());
                let channels = fields.next().map_or(Some(1), |channels| channels.trim().parse().ok());
                let (false, Some(clock_rate), Some(channels)) = (name.is_empty(), rate, channels) else {
                    return Err(malformed(line, "a=rtpmap is payload type, name/clock rate[/channels]"));
                };
                if !format.name.is_empty() && !format.name.eq_ignore_ascii_case(name) {
                    return Err(malformed(line, "the payload type has another a=rtpmap"));
                }
                (format.name, format.clock_rate, format.channels) = (name.to_owned(), clock_rate, channels);
            }
            "fmtp" => format.fmtp = rest.to_owned(),
            _ => {
                if format.feedback.len() < FEEDBACK_MAX {
                    format.feedback.push(rest.to_owned());
                }
            }
        }
        Ok(())
    }

    /// The formats in the m-line's order, and what the session level gives to all.
    fn finish(mut self, transport: &TransportLines, direction: Option<Direction>) -> MediaSection {
        let mut media = self.media;
        for payload_type in self.payload_types {
            // A payload type without a=rtpmap is one of RFC 3551's static types, none of which we speak.
            let Some(mut format) = self.formats.remove(&payload_type).filter(|f| !f.name.is_empty()) else { continue };
            let free = FEEDBACK_MAX.saturating_sub(format.feedback.len());
            format.feedback.extend(self.feedback_for_all.iter().take(free).cloned());
            media.formats.push(format);
        }
        media.direction = self.direction.or(direction).unwrap_or_default();
        let own = &mut media.transport;
        // Credentials belong together: those of the session level are taken as a pair or not at all.
        if own.ufrag.is_none() && own.pwd.is_none() {
            (own.ufrag, own.pwd) = (transport.ufrag.clone(), transport.pwd.clone());
        }
        if own.fingerprints.is_empty() {
            own.fingerprints.clone_from(&transport.fingerprints);
        }
        own.setup = own.setup.or(transport.setup);
        media
    }
}

fn payload_type(line: usize, field: &str) -> Result<u8, SdpError> {
    field
        .parse()
        .ok()
        .filter(|number| *number <= PAYLOAD_TYPE_MAX)
        .ok_or(malformed(line, "the payload type is not a number up to 127"))
}

pub(super) fn ice_chars(
    line: usize,
    value: &str,
    lengths: std::ops::RangeInclusive<usize>,
    what: &'static str,
) -> Result<String, SdpError> {
    let valid = lengths.contains(&value.len())
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'));
    if valid { Ok(value.to_owned()) } else { Err(malformed(line, what)) }
}

/// `None` for a hash that we do not know; such lines stand beside others (RFC 8122 §5).
fn fingerprint(line: usize, value: &str) -> Result<Option<String>, SdpError> {
    let wrong = || malformed(line, "a=fingerprint is a hash name and its bytes in hex");
    let (algorithm, hex) = value.split_once(' ').ok_or_else(wrong)?;
    let algorithm = algorithm.to_ascii_lowercase();
    let bytes = match algorithm.as_str() {
        "sha-1" => 20,
        "sha-224" => 28,
        "sha-256" => 32,
        "sha-384" => 48,
        "sha-512" => 64,
        _ => return Ok(None),
    };
    let hex = hex.trim();
    let valid = hex.split(':').count() == bytes
        && hex.split(':').all(|pair| pair.len() == 2 && pair.bytes().all(|digit| digit.is_ascii_hexdigit()));
    if valid { Ok(Some(format!("{algorithm} {}", hex.to_ascii_uppercase()))) } else { Err(wrong()) }
}

/// RFC 8866 §9, `token-char`.
pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`{|}~".contains(&byte)
}
