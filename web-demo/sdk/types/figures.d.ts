/** What the browser's statistics mean in words that people use: bits per second, share lost, delay. */
/**
 * @typedef {object} TrackFigures
 * @property {'up' | 'down'} direction
 * @property {string} userID
 * @property {'main' | 'aux'} stream
 * @property {'audio' | 'video'} kind
 * @property {string} codec  like `H264` or `opus`; empty until known
 * @property {number} bps  bits per second since the last call
 * @property {number} lostShare  of the packets since the last call, 0 to 1
 * @property {number} jitterMs  how long what arrived waited here before it was played, in milliseconds; 0 for what is sent
 * @property {number} width
 * @property {number} height
 * @property {number} fps
 * @property {number} audioLevel  0 to 1
 *
 * @typedef {object} Figures
 * @property {number} at  Unix milliseconds
 * @property {number | null} roundTripMs  to the server, by the media's own path; null until measured
 * @property {number} sendBps
 * @property {number} receiveBps
 * @property {number} lostShare  of what was to arrive here since the last call
 * @property {string} path  how the media travels: `udp` or `tcp`, and the server's address where the browser tells; empty without media
 * @property {TrackFigures[]} tracks
 */
/** Reads statistics again and again, and knows what changed since the last time. */
export class FiguresReader {
    /**
     * @param {{ up: RTCStatsReport | null, down: RTCStatsReport | null }} reports
     * @param {(direction: 'up' | 'down', trackId: string, mid: string) => { userID: string, stream: 'main' | 'aux' } | null} ownerOf
     * @returns {Figures}
     */
    read({ up, down }: {
        up: RTCStatsReport | null;
        down: RTCStatsReport | null;
    }, ownerOf: (direction: "up" | "down", trackId: string, mid: string) => {
        userID: string;
        stream: "main" | "aux";
    } | null): Figures;
    #private;
}
export type TrackFigures = {
    direction: "up" | "down";
    userID: string;
    stream: "main" | "aux";
    kind: "audio" | "video";
    /**
     * like `H264` or `opus`; empty until known
     */
    codec: string;
    /**
     * bits per second since the last call
     */
    bps: number;
    /**
     * of the packets since the last call, 0 to 1
     */
    lostShare: number;
    /**
     * how long what arrived waited here before it was played, in milliseconds; 0 for what is sent
     */
    jitterMs: number;
    width: number;
    height: number;
    fps: number;
    /**
     * 0 to 1
     */
    audioLevel: number;
};
export type Figures = {
    /**
     * Unix milliseconds
     */
    at: number;
    /**
     * to the server, by the media's own path; null until measured
     */
    roundTripMs: number | null;
    sendBps: number;
    receiveBps: number;
    /**
     * of what was to arrive here since the last call
     */
    lostShare: number;
    /**
     * how the media travels: `udp` or `tcp`, and the server's address where the browser tells; empty without media
     */
    path: string;
    tracks: TrackFigures[];
};
