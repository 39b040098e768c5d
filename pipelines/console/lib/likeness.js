// What similarities mean for the pages: of pairs of strangers one in a hundred reaches 0.5, one in a thousand 0.9.

/** From here on two faces are taken for one person's. With fifty people enrolled, every other stranger is as near as 0.5 to
 *  one of them. */
export const ALIKE = 0.9;
