/** What this browser can do, and which cameras, microphones and speakers there are. */
/** @typedef {{ deviceId: string, label: string, kind: MediaDeviceKind, groupId: string }} Device */
/**
 * Every device. Names and ids are empty until the page was allowed to open one.
 * @param {MediaDeviceKind} [kind]  only these
 * @returns {Promise<Device[]>}
 */
export function getDevices(kind?: MediaDeviceKind): Promise<Device[]>;
/**
 * Whether this browser can take part, and with what.
 * @returns {Promise<{ result: boolean, detail: Record<string, boolean> }>} `result` is true where everything needed is there: WebRTC,
 *   and H.264 or VP8 in both directions. `isMediaDevicesSupported` is false on pages that came by plain http from another machine.
 */
export function checkSystemRequirements(): Promise<{
    result: boolean;
    detail: Record<string, boolean>;
}>;
export function getCameras(): Promise<Device[]>;
export function getMicrophones(): Promise<Device[]>;
export function getSpeakers(): Promise<Device[]>;
export function isScreenShareSupported(): boolean;
export type Device = {
    deviceId: string;
    label: string;
    kind: MediaDeviceKind;
    groupId: string;
};
