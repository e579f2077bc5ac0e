//! Vectors and laws of SRTP protection.

use proptest::prelude::*;

use super::{
    srtp::{RTP_OVERHEAD_MAX, RX_SSRCS_MAX, Srtp, SrtpProfile, TX_SSRCS_MAX},
    srtp_cipher::{Body, Cipher, Stream},
};
use crate::drop_reason::DropReason;

const PROFILES: [SrtpProfile; 2] = [SrtpProfile::AeadAes128Gcm, SrtpProfile::Aes128CmSha1_80];

/// One end that sends and one that receives, under one key.
fn pair(profile: SrtpProfile) -> (Srtp, Srtp) {
    let material: Vec<u8> = (0..Srtp::keying_material_len(profile) as u8).collect();
    (Srtp::new(profile, &material, true).unwrap(), Srtp::new(profile, &material, false).unwrap())
}

fn plain(payload: &[u8]) -> Body<'_> {
    Body { payload, ..Body::default() }
}

fn header(seq: u16, ssrc: u32) -> [u8; 12] {
    let mut header = [0; 12];
    header[0] = 0x80;
    header[1] = 96;
    header[2..4].copy_from_slice(&seq.to_be_bytes());
    header[8..].copy_from_slice(&ssrc.to_be_bytes());
    header
}

fn protect(srtp: &mut Srtp, seq: u16, ssrc: u32, payload: &[u8]) -> Option<Vec<u8>> {
    let mut out = vec![0; 12 + payload.len() + RTP_OVERHEAD_MAX];
    let len = srtp.protect_rtp(&header(seq, ssrc), plain(payload), &mut out)?;
    out.truncate(len);
    Some(out)
}

fn bytes(hex: &str) -> Vec<u8> {
    let hex: String = hex.split_whitespace().collect();
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

/// RFC 7714 §16.1.1 and §17.1 give session keys, so that the derivation is left out.
fn rfc7714_cipher() -> Cipher {
    use aws_lc_rs::aead::{AES_128_GCM, LessSafeKey, UnboundKey};
    let key = bytes("000102030405060708090a0b0c0d0e0f");
    Cipher::Gcm {
        key: LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key).unwrap()),
        salt: bytes("517569642070726f2071756f").try_into().unwrap(),
    }
}

#[test]
fn rtp_is_sealed_as_rfc_7714_16_1_1_has_it() {
    let plain = bytes(
        "8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976 69736120 696e2070 61727465 73207472
         6573",
    );
    let sealed = bytes(
        "8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f 42a5f47a 51c7d19b 36de3adf
         8833899d 7f27beb1 6a9152cf 765ee439 0cce",
    );
    let cipher = rfc7714_cipher();
    let mut out = vec![0; plain.len() + 16];
    cipher.seal_rtp(0x5501_a0b2, 0xf17b, &plain[..12], self::plain(&plain[12..]), &mut out).unwrap();
    assert_eq!(out, sealed);
    cipher.open_rtp(0x5501_a0b2, 0xf17b, 12, &mut out).unwrap();
    assert_eq!(out[..plain.len()], plain);
}

#[test]
fn rtcp_is_sealed_as_rfc_7714_17_1_has_it() {
    let plain = bytes(
        "81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61 deadbeef deadbeef deadbeef deadbeef
         deadbeef",
    );
    let sealed = bytes(
        "81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d c676a5f1 730d6fda 4ce09b46 86303ded
         0bb9275b c84aa458 96cf4d2f c5abf872 45d9eade 800005d4",
    );
    let mut out = vec![0; sealed.len()];
    rfc7714_cipher().seal_rtcp(0x4d61_7273, 0x8000_05d4, &plain, &mut out).unwrap();
    assert_eq!(out, sealed);
    rfc7714_cipher().open_rtcp(0x4d61_7273, 0x8000_05d4, &mut out).unwrap();
    assert_eq!(out[..plain.len()], plain);
}

/// Key derivation of RFC 3711 §B.3 with keystream and tag; the packets are those of the validation run of libsrtp.
#[test]
fn whole_packets_are_sealed_as_libsrtp_seals_them() {
    let rtp = bytes("800f1234 decafbad cafebabe abababab abababab abababab abababab");
    let rtcp = bytes("81c8000b cafebabe abababab abababab abababab abababab");
    for (profile, key, salt, sealed_rtp, sealed_rtcp) in [
        (
            SrtpProfile::Aes128CmSha1_80,
            "e1f97a0d3e018be0d64fa32c06de4139",
            "0ec675ad498afeebb6960b3aabe6",
            "800f1234 decafbad cafebabe 4e55dc4c e79978d8 8ca4d215 949d2402 b78d6acc 99ea179b 8dbb",
            "81c8000b cafebabe 7128035b e487b9bd bef89041 f977a5a8 80000001 993e08cd 54d6c123 0798",
        ),
        (
            SrtpProfile::AeadAes128Gcm,
            "000102030405060708090a0b0c0d0e0f",
            "a0a1a2a3a4a5a6a7a8a9aaab",
            "800f1234 decafbad cafebabe c5002ede 04cfdd2e b91159e0 880aa06e d2976826 f796b201 df3131a1 27e8a392",
            "81c8000b cafebabe c98b8b5d f0392a55 852b6c21 ac8e7025 c52c6fbe a2b3b446 ea31123b a88ce61e 80000001",
        ),
    ] {
        let (key, salt) = (bytes(key), bytes(salt));
        let cipher = Cipher::new(profile, Stream::Rtp, &key, &salt).unwrap();
        let mut out = vec![0; rtp.len() + profile.tag_len()];
        cipher.seal_rtp(0xcafe_babe, 0x1234, &rtp[..12], plain(&rtp[12..]), &mut out).unwrap();
        assert_eq!(out, bytes(sealed_rtp), "{profile:?}");

        let cipher = Cipher::new(profile, Stream::Rtcp, &key, &salt).unwrap();
        let mut out = vec![0; rtcp.len() + profile.tag_len() + 4];
        cipher.seal_rtcp(0xcafe_babe, 0x8000_0001, &rtcp, &mut out).unwrap();
        assert_eq!(out, bytes(sealed_rtcp), "{profile:?}");
    }
}

#[test]
fn what_one_end_seals_the_other_opens() {
    for profile in PROFILES {
        let (mut a, mut b) = pair(profile);
        for (from_a, seq) in [(true, 1), (false, 1), (true, 2)] {
            let (tx, rx) = if from_a { (&mut a, &mut b) } else { (&mut b, &mut a) };
            let mut packet = protect(tx, seq, 7, b"payload").unwrap();
            let len = rx.unprotect_rtp(&mut packet).unwrap();
            assert_eq!(&packet[12..len], b"payload");

            let mut out = vec![0xEE];
            assert!(tx.protect_rtcp(&[0x80, 201, 0, 1, 0, 0, 0, 7], &mut out));
            assert_eq!(rx.unprotect_rtcp(&mut out[1..]), Ok(8));
        }
    }
}

#[test]
fn a_prefix_is_sealed_in_front_of_the_payload() {
    for profile in PROFILES {
        let (mut a, mut b) = pair(profile);
        let mut out = [0; 64];
        let len = a.protect_rtp(&header(1, 7), Body { prefix: &[0xAB, 0xCD], ..plain(b"payload") }, &mut out).unwrap();
        let len = b.unprotect_rtp(&mut out[..len]).unwrap();
        assert_eq!(&out[12..len], b"\xAB\xCDpayload");
    }
}

#[test]
fn padding_is_sealed_behind_the_payload_with_and_without_a_prefix() {
    for profile in PROFILES {
        for prefix in [&[][..], &[0xAB, 0xCD]] {
            let (mut a, mut b) = pair(profile);
            let mut out = [0; 64];
            let body = Body { prefix, padding: &[0, 0, 3], ..plain(b"payload") };
            let len = a.protect_rtp(&header(1, 7), body, &mut out).unwrap();
            let len = b.unprotect_rtp(&mut out[..len]).unwrap();
            assert_eq!(&out[12..len], [prefix, b"payload", &[0, 0, 3]].concat());
        }
    }
}

#[test]
fn csrcs_and_extensions_stay_in_the_clear() {
    for profile in PROFILES {
        let (mut a, mut b) = pair(profile);
        let mut head = header(1, 7).to_vec();
        head[0] |= 0x10 | 2;
        head.extend_from_slice(&[1, 1, 1, 1, 2, 2, 2, 2]);
        head.extend_from_slice(&[0xBE, 0xDE, 0, 1, 0x10, 9, 0, 0]);
        let mut out = [0; 80];
        let len = a.protect_rtp(&head, plain(b"payload"), &mut out).unwrap();
        assert_eq!(out[..head.len()], head);
        let len = b.unprotect_rtp(&mut out[..len]).unwrap();
        assert_eq!(&out[head.len()..len], b"payload");
    }
}

#[test]
fn a_replayed_packet_is_dropped() {
    for profile in PROFILES {
        let (mut a, mut b) = pair(profile);
        let packet = protect(&mut a, 1, 7, b"payload").unwrap();
        assert!(b.unprotect_rtp(&mut packet.clone()).is_ok());
        assert_eq!(b.unprotect_rtp(&mut packet.clone()), Err(DropReason::SrtpReplay));

        let mut report = Vec::new();
        a.protect_rtcp(&[0x80, 201, 0, 1, 0, 0, 0, 7], &mut report);
        assert!(b.unprotect_rtcp(&mut report.clone()).is_ok());
        assert_eq!(b.unprotect_rtcp(&mut report.clone()), Err(DropReason::SrtpReplay));
    }
}

#[test]
fn a_forged_packet_moves_neither_roll_over_counter_nor_window() {
    for profile in PROFILES {
        let (mut a, mut b) = pair(profile);
        b.unprotect_rtp(&mut protect(&mut a, 40_000, 7, b"first").unwrap()).unwrap();
        // Were it believed, sequence 5 would stand for the next round, and 40,001 would lie far behind.
        let mut forged = protect(&mut pair(profile).1, 5, 7, b"forged").unwrap();
        assert_eq!(b.unprotect_rtp(&mut forged), Err(DropReason::SrtpAuth));
        b.unprotect_rtp(&mut protect(&mut a, 40_001, 7, b"second").unwrap()).unwrap();
    }
}

#[test]
fn forged_packets_of_new_sources_occupy_nothing() {
    for profile in PROFILES {
        let (mut a, mut b) = pair(profile);
        let mut stranger = pair(profile).1;
        for ssrc in 0..1_000 {
            let mut forged = protect(&mut stranger, 1, ssrc, b"forged").unwrap();
            assert_eq!(b.unprotect_rtp(&mut forged), Err(DropReason::SrtpAuth));
        }
        assert_eq!(b.rx_ssrcs(), 0);
        b.unprotect_rtp(&mut protect(&mut a, 1, 7, b"genuine").unwrap()).unwrap();
    }
}

#[test]
fn sixteen_sources_are_received_and_a_seventeenth_only_after_one_is_forgotten() {
    let (mut a, mut b) = pair(SrtpProfile::AeadAes128Gcm);
    let last = RX_SSRCS_MAX as u32;
    for ssrc in 0..last {
        b.unprotect_rtp(&mut protect(&mut a, 1, ssrc, b"x").unwrap()).unwrap();
    }
    let packet = protect(&mut a, 1, last, b"x").unwrap();
    assert_eq!(b.unprotect_rtp(&mut packet.clone()), Err(DropReason::UnknownSsrc));
    b.forget_rx(3);
    assert!(b.unprotect_rtp(&mut packet.clone()).is_ok());
    assert_eq!(b.rx_ssrcs(), RX_SSRCS_MAX);
}

#[test]
fn sending_sources_are_limited() {
    let (mut a, _) = pair(SrtpProfile::AeadAes128Gcm);
    for ssrc in 0..TX_SSRCS_MAX as u32 {
        assert!(protect(&mut a, 1, ssrc, b"x").is_some());
    }
    assert!(protect(&mut a, 1, TX_SSRCS_MAX as u32, b"x").is_none());
    assert!(protect(&mut a, 2, 0, b"x").is_some());
}

#[test]
fn a_sequence_number_is_never_sealed_twice() {
    for profile in PROFILES {
        let (mut a, _) = pair(profile);
        assert!(protect(&mut a, 10, 7, b"one").is_some());
        assert!(protect(&mut a, 10, 7, b"two").is_none());
        assert!(protect(&mut a, 9, 7, b"late but new").is_some());
        assert!(protect(&mut a, 9, 7, b"late and old").is_none());
        assert!(protect(&mut a, 10, 8, b"of another source").is_some());
    }
}

#[test]
fn the_sequence_wraps_forty_times() {
    for profile in PROFILES {
        let (mut a, mut b) = pair(profile);
        for index in (0u64..40 << 16).step_by(1_000) {
            let mut packet = protect(&mut a, index as u16, 7, b"payload").unwrap();
            assert!(b.unprotect_rtp(&mut packet).is_ok(), "{index}");
        }
    }
}

#[test]
fn an_output_that_is_too_short_spends_no_sequence_number() {
    for profile in PROFILES {
        let (mut a, _) = pair(profile);
        let mut short = vec![0; 12 + 7 + profile.tag_len() - 1];
        assert_eq!(a.protect_rtp(&header(1, 7), plain(b"payload"), &mut short), None);
        assert!(protect(&mut a, 1, 7, b"payload").is_some());
    }
}

#[test]
fn odd_and_short_packets_are_refused_without_panic() {
    for profile in PROFILES {
        let (_, mut b) = pair(profile);
        for len in 0..=60 {
            for first in 0..=255 {
                for second in [0, 0x10, 0xFF] {
                    let mut junk = vec![second; len];
                    if let Some(byte) = junk.first_mut() {
                        *byte = first;
                    }
                    assert!(b.unprotect_rtp(&mut junk.clone()).is_err());
                    assert!(b.unprotect_rtcp(&mut junk).is_err());
                }
            }
        }
        assert_eq!(b.rx_ssrcs(), 0);
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    for profile in PROFILES {
        let (mut a, mut b) = pair(profile);
        let packet = protect(&mut a, 1, 7, b"payload").unwrap();
        let mut report = Vec::new();
        a.protect_rtcp(&[0x80, 201, 0, 1, 0, 0, 0, 7], &mut report);
        for bit in 0..packet.len() * 8 {
            let mut bad = packet.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(b.unprotect_rtp(&mut bad).is_err(), "{bit}");
        }
        for bit in 0..report.len() * 8 {
            let mut bad = report.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(b.unprotect_rtcp(&mut bad).is_err(), "{bit}");
        }
        assert!(b.unprotect_rtp(&mut packet.clone()).is_ok());
        assert!(b.unprotect_rtcp(&mut report).is_ok());
    }
}

proptest! {
    /// Whatever is sent in whatever order, no two packets that leave have the same source and index.
    #[test]
    fn no_source_and_index_repeat(sends in prop::collection::vec((0u32..3, 0u16..400), 1..400)) {
        let (mut a, mut b) = pair(SrtpProfile::AeadAes128Gcm);
        for (ssrc, seq) in sends {
            if let Some(mut packet) = protect(&mut a, seq, ssrc, b"x") {
                // The receiver's window is wider: it would call a repeated index a replay.
                prop_assert!(b.unprotect_rtp(&mut packet).is_ok());
            }
        }
    }
}
