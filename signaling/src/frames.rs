//! How much one WebSocket message may have, looked at before any of it is kept: at the heads of frames, as bytes come in.
//!
//! The WebSocket library has one bound for a connection's whole life, and ours is lower until somebody has entered a room. So
//! this stands between the library and the socket and reads along.

use std::{
    fmt, io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes of the longest head of a client's frame (RFC 6455 §5.2): two, eight of length, four of mask.
const HEAD_BYTES_MAX: usize = 14;

/// A message was announced that is larger than allowed. Reading ends with it; nothing of the message was kept.
#[derive(Debug)]
pub struct TooBig;

impl fmt::Display for TooBig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message is larger than allowed")
    }
}

impl std::error::Error for TooBig {}

/// A socket whose incoming frames are measured.
pub struct Measured<S> {
    socket: S,
    frames: Frames,
    is_too_big: bool,
}

impl<S> Measured<S> {
    /// Messages may have as many bytes as `bytes_max` says at the moment in which they are announced.
    pub fn new(socket: S, bytes_max: Arc<AtomicUsize>) -> Measured<S> {
        Measured { socket, frames: Frames { bytes_max, ..Frames::default() }, is_too_big: false }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Measured<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let start = buf.filled().len();
        if !this.is_too_big {
            std::task::ready!(Pin::new(&mut this.socket).poll_read(cx, buf))?;
            let Err(allowed) = this.frames.follow(&buf.filled()[start..]) else { return Poll::Ready(Ok(())) };
            this.is_too_big = true;
            buf.set_filled(start + allowed);
            if allowed > 0 {
                // What came before it is still read.
                return Poll::Ready(Ok(()));
            }
        }
        Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, TooBig)))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Measured<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// Follows the frames of one direction. Whether they are good frames is the library's matter.
#[derive(Default)]
struct Frames {
    bytes_max: Arc<AtomicUsize>,
    /// Of the head that is coming in.
    head: [u8; HEAD_BYTES_MAX],
    head_len: usize,
    /// Of the present frame's payload, still to come.
    payload_left: u64,
    /// Announced so far of a message in several frames.
    message_bytes: u64,
}

impl Frames {
    /// # Errors
    /// How many of these bytes stand before the head of the frame that is too much.
    fn follow(&mut self, bytes: &[u8]) -> Result<(), usize> {
        let (mut at, mut head_at) = (0, 0);
        while at < bytes.len() {
            if self.payload_left > 0 {
                let step = self.payload_left.min((bytes.len() - at) as u64);
                (self.payload_left, at) = (self.payload_left - step, at + step as usize);
                continue;
            }
            if self.head_len == 0 {
                head_at = at;
            }
            self.head[self.head_len] = bytes[at];
            (self.head_len, at) = (self.head_len + 1, at + 1);
            if let Some(len) = self.announced() {
                self.head_len = 0;
                self.payload_left = len;
                self.count(len).map_err(|TooBig| head_at)?;
            }
        }
        Ok(())
    }

    /// The payload's length, when its head is complete.
    fn announced(&self) -> Option<u64> {
        let head = &self.head[..self.head_len];
        let (len_bytes, mask_bytes) = match *head.get(1)? {
            b if b & 0x7f == 126 => (2, (b >> 7) * 4),
            b if b & 0x7f == 127 => (8, (b >> 7) * 4),
            b => (0, (b >> 7) * 4),
        };
        let extended = head.get(2..2 + len_bytes)?;
        (head.len() == 2 + len_bytes + usize::from(mask_bytes)).then(|| match len_bytes {
            0 => u64::from(head[1] & 0x7f),
            _ => extended.iter().fold(0, |len, byte| len << 8 | u64::from(*byte)),
        })
    }

    fn count(&mut self, len: u64) -> Result<(), TooBig> {
        let (is_last, is_control) = (self.head[0] & 0x80 != 0, self.head[0] & 0x08 != 0);
        // Control frames come between those of a message, and the library takes no long ones.
        if is_control {
            return Ok(());
        }
        self.message_bytes = self.message_bytes.saturating_add(len);
        if self.message_bytes > self.bytes_max.load(Ordering::Relaxed) as u64 {
            return Err(TooBig);
        }
        if is_last {
            self.message_bytes = 0;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    fn frames(bytes_max: usize) -> Frames {
        Frames { bytes_max: Arc::new(AtomicUsize::new(bytes_max)), ..Frames::default() }
    }

    /// A masked frame with this first byte and so much payload.
    fn frame(first: u8, len: usize) -> Vec<u8> {
        let mut bytes = vec![first];
        match len {
            0..126 => bytes.push(0x80 | len as u8),
            126..65_536 => {
                bytes.push(0x80 | 126);
                bytes.extend((len as u16).to_be_bytes());
            }
            _ => {
                bytes.push(0x80 | 127);
                bytes.extend((len as u64).to_be_bytes());
            }
        }
        bytes.extend([0; 4]);
        bytes.resize(bytes.len() + len, b'x');
        bytes
    }

    #[test]
    fn a_message_has_as_much_as_it_may_and_not_a_byte_more_however_it_is_cut() {
        for len in [0, 1, 125, 126, 65_535, 65_536, 70_000] {
            for step in [1, 3, 1_000, 100_000] {
                let follow = |max: usize| {
                    let mut frames = frames(max);
                    [frame(0x81, len), frame(0x81, 0)].concat().chunks(step).try_for_each(|part| frames.follow(part))
                };
                assert!(follow(len).is_ok(), "{len} in steps of {step}");
                assert!(len == 0 || follow(len - 1).is_err(), "{len} in steps of {step}");
            }
        }
    }

    #[test]
    fn the_frames_of_one_message_count_together_and_control_frames_do_not() {
        let parts = [frame(0x01, 60), frame(0x89, 100), frame(0x80, 40), frame(0x81, 100)].concat();
        assert!(frames(100).follow(&parts).is_ok());
        let parts = [frame(0x01, 60), frame(0x89, 100), frame(0x80, 41)].concat();
        assert_eq!(frames(100).follow(&parts), Err(6 + 60 + 6 + 100));
    }

    #[test]
    fn the_greatest_length_that_can_be_announced_is_too_much() {
        let mut head = vec![0x81, 0x80 | 127];
        head.extend(u64::MAX.to_be_bytes());
        head.extend([0; 4]);
        let unfinished = [&head[..], &[0x01, 0x80 | 1, 0, 0, 0, 0, b'x']].concat();
        assert_eq!(frames(usize::MAX >> 1).follow(&unfinished), Err(0));
    }

    #[tokio::test]
    async fn what_came_before_is_still_read() {
        let good = frame(0x81, 5);
        let bytes = [good.clone(), frame(0x81, 11)].concat();
        let mut measured = Measured::new(&bytes[..], Arc::new(AtomicUsize::new(10)));
        let mut read = vec![0; 100];
        assert_eq!(measured.read(&mut read).await.unwrap(), good.len());
        assert!(measured.read(&mut read).await.unwrap_err().get_ref().unwrap().is::<TooBig>());
    }
}
