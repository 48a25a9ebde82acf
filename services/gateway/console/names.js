// The names of fields with secrets, and the masks. Both come from the service.

import { settings } from "./settings.js";

const { mask, platformMasks, secretNames, pairNames, pairValues, authorization } = settings;

const normalised = name => name.replace(/[^\p{Alphabetic}\p{N}]/gu, "").toLowerCase();

export const namesASecret = name => secretNames.includes(normalised(name));
export const namesACredential = name => normalised(name) === authorization;
export const isFirstHalf = name => pairNames.includes(normalised(name));
export const isSecondHalf = name => pairValues.includes(normalised(name));
export const isMask = value => value === mask || platformMasks.includes(value);
