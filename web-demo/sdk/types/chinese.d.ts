/**
 * An error's words in Chinese; its own where the code is not known.
 * @param {{ code: number | string, message: string, advice?: string }} error
 * @returns {{ message: string, advice: string }}
 */
export function inChinese({ code, message, advice }: {
    code: number | string;
    message: string;
    advice?: string;
}): {
    message: string;
    advice: string;
};
