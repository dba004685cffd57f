import { randomBytes } from 'node:crypto';
import type { StoredObject } from '../../operator/api/objects.ts';
import { CREDENTIALS } from './fleet.ts';

/** What the Secret is to hold: key -> value. Never printed. */
export type Credentials = Readonly<Record<string, string>>;

/** A user name and a new random password. */
export function newCredentials(): Credentials {
  return { username: 'worker', password: randomBytes(18).toString('base64url') };
}

/** The Secret to seal. */
export function credentialsSecret(credentials: Credentials): object {
  const data = Object.fromEntries(
    Object.entries(credentials).map(([key, value]) => [key, Buffer.from(value).toString('base64')]),
  );
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: CREDENTIALS, namespace: 'production' },
    type: 'Opaque',
    data,
  };
}

/** Whether a Secret of the cluster holds exactly these. */
export function holdsCredentials(secret: StoredObject, credentials: Credentials): boolean {
  const data = (secret.data ?? {}) as Record<string, string>;
  const expected = Object.entries(credentials);
  return (
    Object.keys(data).length === expected.length &&
    expected.every(([key, value]) => Buffer.from(data[key] ?? '', 'base64').toString('utf8') === value)
  );
}
