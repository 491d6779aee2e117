// Certificates as text: read, checked in the browser with the node's public keys, drawn as a QR code.
// The format is docs/reference/certificates.md. Never says that one is still in force: only the node knows. Start at [`read`] and [`check`].
import type { components } from '@/api/schema'

type Schemas = components['schemas']
export type Issued = Schemas['IssuedCertificate']
export type Says = Schemas['Certificate']
export type Verified = Schemas['VerifiedCertificate']
export type Key = Pick<Schemas['CertificateKey'], 'key' | 'id'>

/** A text that has the form of a certificate. */
export interface Code {
  text: string
  lines: Uint8Array<ArrayBuffer>
  signature: Uint8Array<ArrayBuffer>
  says: Says
}
/** `unsupported`: this browser, or a page without https, cannot check. */
export type Checked = 'good' | 'wrong' | 'key_unknown' | 'unsupported'

const PREFIX = 'AL1'
const DOMAIN = new TextEncoder().encode('anlan certificate 1\0')
const TEXT_MOST = 4_000
const SIGNATURE_BYTES = 64

function bytes(base64url: string): Uint8Array<ArrayBuffer> | null {
  if (!/^[\w-]+$/.test(base64url)) return null
  try {
    return Uint8Array.from(atob(base64url.replace(/-/g, '+').replace(/_/g, '/')), (c) => c.charCodeAt(0))
  } catch {
    return null
  }
}

function named(line: string | undefined) {
  const found = /^([^=~]+)([=~])(.*)$/s.exec(line ?? '')
  return found ? { id: found[1]!, value: { text: found[3]!, cut: found[2] === '~' } } : null
}

function saysOf(text: string): Says | null {
  const [key, kind, record, number, issued, until, code, first, ...rest] = text.split('\n')
  const owner = named(first)
  const fields = rest.map(named)
  if (!/^[0-9a-f]{16}$/.test(key ?? '') || !kind || !record || number === undefined || code === undefined || owner?.id !== 'owner') return null
  if (Number.isNaN(Date.parse(issued ?? '')) || (until !== '' && !/^\d{4}-\d\d-\d\d$/.test(until ?? ''))) return null
  if (fields.some((f) => f === null)) return null
  return {
    key: key!,
    kind,
    kind_name: kind,
    kind_name_en: kind,
    record,
    number,
    issued_at: issued!,
    until: until || null,
    code,
    owner: owner.value,
    // Names are the register's: the node tells them.
    fields: fields.flatMap((f) => (f ? [{ id: f.id, name: f.id, name_en: f.id, value: f.value }] : [])),
  }
}

/** The certificate in a text, or in an address behind `#`; spaces and ends of lines do not count. */
export function read(pasted: string): Code | null {
  if (pasted.length > TEXT_MOST) return null
  const text = pasted.replace(/\s/g, '').split('#').pop() ?? ''
  const [prefix, lines64, signature64, ...more] = text.split('.')
  const lines = bytes(lines64 ?? '')
  const signature = bytes(signature64 ?? '')
  if (prefix !== PREFIX || more.length || !lines || signature?.length !== SIGNATURE_BYTES) return null
  try {
    const says = saysOf(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(lines))
    return says && { text, lines, signature, says }
  } catch {
    return null
  }
}

/** Whether one of these keys signed it; no word leaves the browser. */
export async function check(code: Code, keys: readonly Key[]): Promise<Checked> {
  const known = keys.find((k) => k.id === code.says.key)
  if (!known) return 'key_unknown'
  // Not there on pages without https.
  const subtle = globalThis.crypto?.subtle as SubtleCrypto | undefined
  if (!subtle) return 'unsupported'
  let key: CryptoKey
  try {
    const raw = Uint8Array.from(atob(known.key.replace(/^ed25519:/, '')), (c) => c.charCodeAt(0))
    key = await subtle.importKey('raw', raw, { name: 'Ed25519' }, false, ['verify'])
  } catch {
    return 'unsupported'
  }
  const message = new Uint8Array(DOMAIN.length + code.lines.length)
  message.set(DOMAIN)
  message.set(code.lines, DOMAIN.length)
  return (await subtle.verify('Ed25519', key, code.signature, message)) ? 'good' : 'wrong'
}

/** What is kept in the browser, so that a later look needs no network: keys of the node, names of registers and fields. */
export interface Kept {
  keys: Key[]
  names: Record<string, { name: string; name_en: string }>
}
const KEPT = 'anlan.certificates'

export function kept(): Kept {
  try {
    const found = JSON.parse(localStorage.getItem(KEPT) ?? '{}') as Partial<Kept>
    return { keys: Array.isArray(found.keys) ? found.keys : [], names: found.names ?? {} }
  } catch {
    return { keys: [], names: {} }
  }
}
export function keep(what: Kept) {
  try {
    localStorage.setItem(KEPT, JSON.stringify(what))
  } catch {
    // A browser that keeps nothing asks the node each time.
  }
}

/** Names that the node told of a certificate's register and fields. */
export function namesOf(says: Says): Kept['names'] {
  const fields = says.fields.map((f) => [`${says.kind}.${f.id}`, { name: f.name, name_en: f.name_en }] as const)
  return Object.fromEntries([[says.kind, { name: says.kind_name, name_en: says.kind_name_en }] as const, ...fields])
}
/** The same certificate with these names. */
export function withNames(says: Says, names: Kept['names']): Says {
  const own = names[says.kind]
  return { ...says, kind_name: own?.name ?? says.kind, kind_name_en: own?.name_en ?? says.kind, fields: says.fields.map((f) => ({ ...f, ...names[`${says.kind}.${f.id}`] })) }
}

/** The dark modules as one SVG path on a grid with a quiet zone of four around it. */
export function qrPath(rows: readonly string[]): { path: string; size: number } {
  const runs = rows.flatMap((row, y) => [...row.matchAll(/1+/g)].map((run) => `M${run.index + 4} ${y + 4}h${run[0].length}v1h-${run[0].length}z`))
  return { path: runs.join(''), size: rows.length + 8 }
}
