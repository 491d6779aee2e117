// Positions as the page needs them: the drawn track, the set bits, the decoded items. Pure.
import type { Position } from '@/api/types'

/** The track as drawn: positions without a fix and jumps that cannot be driven are left out, as the server marks them. */
export function trackOf(positions: readonly Position[]): number[][] {
  return positions.filter((p) => p.fix && !p.flags.includes('drift') && !p.flags.includes('no_fix')).map((p) => [p.lon, p.lat])
}

/** Numbers of the bits that are set in a 32-bit word, lowest first. */
export function bits(word: number): number[] {
  const set: number[] = []
  for (let bit = 0; bit < 32; bit++) if ((word >>> bit) & 1) set.push(bit)
  return set
}

/**
 * Additional items as rows of text. The server gives a list of `{id, name, …fields}`; `key` is the name, and the id too
 * where the name does not tell items apart.
 */
export function itemRows(items: unknown): { key: string; id: string; text: string }[] {
  if (!Array.isArray(items)) return []
  return items.flatMap((item: unknown) => {
    if (typeof item !== 'object' || item === null) return []
    const { id, name, ...fields } = item as Record<string, unknown>
    const shown = Object.entries(fields).filter(([, value]) => value !== null && value !== undefined)
    const one = shown.length === 1
    const text = shown.map(([key, value]) => (one ? plain(value) + unitOf(key) : `${key}=${plain(value)}`)).join('，')
    return [{ key: typeof name === 'string' ? name : String(id ?? Object.keys(fields)[0] ?? ''), id: typeof id === 'string' ? id : '', text }]
  })
}
/** Groups within an item (an alarm's tag, tyres) in brackets, however deep. */
function plain(value: unknown): string {
  if (Array.isArray(value)) return value.map(plain).join(' ')
  if (typeof value !== 'object' || value === null) return String(value)
  return `(${Object.entries(value).map(([key, inner]) => `${key}=${plain(inner)}`).join('，')})`
}

/** Field names carry their unit last. */
function unitOf(key: string): string {
  const units: Record<string, string> = { km: 'km', kmh: 'km/h', l: 'L', c: '℃', s: 's', pa: 'Pa' }
  const unit = units[key.split('_').pop() ?? '']
  return unit ? `\u2009${unit}` : ''
}
