// Positions as the page needs them: the drawn track, the set bits, the decoded items. Pure.
import type { Position } from '@/api/types'
import type { Pace, Track } from '@/map/features'

/** Slower is standing, for the colour of the line alone; what counts as a trip is the server's. */
const STAND_KMH = 5
const SLOW_KMH = 30

export function paceOf(speedKmh: number, limitKmh: number | null | undefined): Pace {
  if (limitKmh && speedKmh > limitKmh) return 'over'
  return speedKmh < STAND_KMH ? 'stand' : speedKmh < SLOW_KMH ? 'slow' : 'drive'
}

const isTrue = (p: Position) => p.fix && !p.flags.includes('drift') && !p.flags.includes('no_fix')

/**
 * The track as drawn: stretches of one pace, joined end to end. Positions without a fix are left out; places that cannot be
 * true, as the server marks them, are no part of the line and stand as marks of their own.
 */
export function trackOf(positions: readonly Position[], limitKmh?: number | null): Track {
  const stretches: Track['stretches'] = []
  let last: number[] | null = null
  for (const p of positions.filter(isTrue)) {
    const pace = paceOf(p.speed_kmh, limitKmh)
    const here = [p.lon, p.lat]
    const open = stretches.at(-1)
    if (open?.pace === pace) open.coordinates.push(here)
    else stretches.push({ pace, coordinates: last ? [last, here] : [here] })
    last = here
  }
  return { stretches, drift: positions.filter((p) => p.flags.includes('drift')).map((p) => [p.lon, p.lat]) }
}

/** The index of the last position at or before `at`; 0 before the first. */
export function indexAt(positions: readonly Position[], at: number): number {
  let [low, high] = [0, positions.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (Date.parse(positions[middle]!.at) <= at) low = middle + 1
    else high = middle
  }
  return Math.max(0, low - 1)
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
