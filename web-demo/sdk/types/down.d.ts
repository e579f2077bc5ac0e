/** What this side receives: one peer connection, on which the server always offers. */
/** @typedef {{ mid: string, userID: string, stream: 'main' | 'aux' }} Assignment  whose track an m-line carries */
/** Our side of subscribing. A closed one is thrown away; the next offer makes a new one. */
export class Down {
    /**
     * @param {import('./signaling.js').Signaling} signaling
     * @param {RTCConfiguration} configuration
     * @param {Map<string, { userID: string, stream: 'main' | 'aux', media: MediaStream }>} streams  outlives this object
     * @param {{ onState: (state: RTCPeerConnectionState) => void, onMedia: (key: string) => void }} callbacks
     */
    constructor(signaling: import("./signaling.js").Signaling, configuration: RTCConfiguration, streams: Map<string, {
        userID: string;
        stream: "main" | "aux";
        media: MediaStream;
    }>, { onState, onMedia }: {
        onState: (state: RTCPeerConnectionState) => void;
        onMedia: (key: string) => void;
    });
    /** @param {{ version: number, sdp: string, tracks: Assignment[] }} offer @returns {Promise<void>} */
    answer({ version, sdp, tracks }: {
        version: number;
        sdp: string;
        tracks: Assignment[];
    }): Promise<void>;
    stats(): Promise<RTCStatsReport>;
    close(): void;
    #private;
}
export function streamKey(userID: string, stream: string): string;
/**
 * whose track an m-line carries
 */
export type Assignment = {
    mid: string;
    userID: string;
    stream: "main" | "aux";
};
