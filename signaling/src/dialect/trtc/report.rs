//! `on_quality_report`: every 2 s a client says how its connections do.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::quality::{Quality, REPORTED_PEERS_MAX, Received};

/// Reads a report; the users in it are numbers yet. What is missing or no number is 0, for the figures come from a browser that
/// may know fewer of them than the library's authors thought.
pub fn read(data: &Map<String, Value>) -> Option<Quality> {
    let report = data.get("WebRTCQualityReq")?.as_object()?;
    let nothing = Map::new();
    let part = |name: &str| report.get(name).and_then(Value::as_object).unwrap_or(&nothing);
    let (audio, video) = (part("AudioReportState"), part("VideoReportState"));
    let encoded = first(video, "VideoEncState").unwrap_or(&nothing);
    let (sound_out, picture_out) = (number(audio, "uint32_audio_enc_pkg_br"), number(video, "uint32_video_snd_br"));
    let (sound_in, picture_in) = (number(audio, "uint32_audio_real_recv_br"), number(video, "uint32_video_rcv_br"));
    let mut from: BTreeMap<String, Received> = BTreeMap::new();
    for (decoded, is_video) in each(audio, "AudioDecState", false).chain(each(video, "VideoDecState", true)) {
        let Some(peer) = decoded.get("uint64_sender_uin").and_then(text) else { continue };
        if from.len() == REPORTED_PEERS_MAX && !from.contains_key(&peer) {
            continue;
        }
        let one = from.entry(peer.clone()).or_insert_with(|| Received { user: peer, ..Received::default() });
        if is_video {
            one.video_bps = number(decoded, "uint32_video_recv_br");
            one.width = small(decoded, "uint32_dec_width");
            one.height = small(decoded, "uint32_dec_height");
            one.frame_rate = small(decoded, "uint32_video_recv_fps");
            one.jitter_ms = one.jitter_ms.max(small(decoded, "uint32_video_jitter"));
        } else {
            one.audio_bps = number(decoded, "uint32_audio_real_recv_br");
            one.jitter_ms = one.jitter_ms.max(small(decoded, "uint32_audio_jitter"));
        }
    }
    Some(Quality {
        rtt_ms: small(report, "uint32_delay"),
        sent_bps: number(report, "uint32_total_send_bps").max(sound_out.saturating_add(picture_out)),
        received_bps: number(report, "uint32_total_recv_bps").max(sound_in.saturating_add(picture_in)),
        width: small(encoded, "uint32_enc_width"),
        height: small(encoded, "uint32_enc_height"),
        from: from.into_values().collect(),
        ..Quality::default()
    })
}

fn number(fields: &Map<String, Value>, name: &str) -> u64 {
    let number = match fields.get(name) {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.parse().ok(),
        _ => None,
    };
    // The cast takes what is below 0, or no number, as 0.
    number.map_or(0, |number: f64| number as u64)
}

fn small(fields: &Map<String, Value>, name: &str) -> u32 {
    number(fields, name).try_into().unwrap_or(u32::MAX)
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn first<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a Map<String, Value>> {
    fields.get(name)?.as_array()?.first()?.as_object()
}

fn each<'a>(
    fields: &'a Map<String, Value>,
    name: &str,
    is_video: bool,
) -> impl Iterator<Item = (&'a Map<String, Value>, bool)> {
    let list = fields.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(move |one| Some((one.as_object()?, is_video)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read_value(value: Value) -> Option<Quality> {
        read(value.as_object().unwrap())
    }

    #[test]
    fn a_report_is_read_whatever_the_browser_did_not_know() {
        let report = json!({ "WebRTCQualityReq": {
            "uint32_delay": 12.6, "uint32_total_send_bps": "800000", "uint32_total_recv_bps": 5,
            "AudioReportState": { "uint32_audio_real_recv_br": 30_000,
                "AudioDecState": [{ "uint64_sender_uin": "17", "uint32_audio_real_recv_br": 30_000, "uint32_audio_jitter": 3 }] },
            "VideoReportState": { "uint32_video_snd_br": null, "uint32_video_rcv_br": 900_000,
                "VideoEncState": [{ "uint32_enc_width": 640, "uint32_enc_height": 480 }],
                "VideoDecState": [{ "uint64_sender_uin": 17, "uint32_video_recv_br": -4, "uint32_dec_width": 1280,
                    "uint32_dec_height": 720, "uint32_video_recv_fps": 15, "uint32_video_jitter": 9 }, 5, {}] },
        } });
        let received = Received {
            user: "17".into(),
            audio_bps: 30_000,
            video_bps: 0,
            width: 1280,
            height: 720,
            frame_rate: 15,
            jitter_ms: 9,
        };
        let expected = Quality {
            rtt_ms: 12,
            sent_bps: 800_000,
            received_bps: 930_000,
            width: 640,
            height: 480,
            from: vec![received],
            ..Quality::default()
        };
        assert_eq!(read_value(report), Some(expected));
        assert_eq!(read_value(json!({ "WebRTCQualityReq": {} })), Some(Quality::default()));
        assert_eq!(read_value(json!({})), None);
    }

    #[test]
    fn a_report_tells_of_64_peers_at_most() {
        let report = |peers: usize| {
            let decoded: Vec<Value> = (1..=peers).map(|peer| json!({ "uint64_sender_uin": peer })).collect();
            let states = json!({ "VideoDecState": decoded });
            read_value(json!({ "WebRTCQualityReq": { "VideoReportState": states } })).unwrap().from.len()
        };
        assert_eq!(report(REPORTED_PEERS_MAX), REPORTED_PEERS_MAX);
        assert_eq!(report(REPORTED_PEERS_MAX + 1), REPORTED_PEERS_MAX);
    }
}
