// Records of the map layer by place: several at one gate are one symbol, which shows the worst of them. Pure. Start at [`places`].
import type { components } from '@/api/schema'
import { stateOf } from './kind'
import type { Register } from './types'

export type MapLayer = components['schemas']['MapLayer']
export type MapRecord = MapLayer['features'][number]['properties']
/** Late before open before ended: what needs a look is on top. */
export const STANDINGS = ['late', 'open', 'ended'] as const
/** Told apart without colour, as the symbols on the map are. */
export const SIGN = { late: '⚠', open: '○', ended: '■' } as const
export type Standing = (typeof STANDINGS)[number]
export interface RecordPlace {
  id: string
  lon: number
  lat: number
  standing: Standing
  /** Late ones first, then by due day. */
  records: MapRecord[]
}

export const standing = (record: MapRecord, kind: Register): Standing => (record.overdue ? 'late' : stateOf(kind, record.state)?.end ? 'ended' : 'open')

export function places(layer: MapLayer, kind: Register): RecordPlace[] {
  const found = new Map<string, RecordPlace>()
  for (const { geometry, properties } of layer.features) {
    const [lon, lat] = geometry.coordinates as [number, number]
    // A tenth of a metre apart is the same gate.
    const id = `${lon.toFixed(6)},${lat.toFixed(6)}`
    const held = found.get(id) ?? { id, lon, lat, standing: 'ended', records: [] }
    held.records.push(properties)
    found.set(id, held)
  }
  const rank = (r: MapRecord) => STANDINGS.indexOf(standing(r, kind))
  for (const place of found.values()) {
    place.records.sort((a, b) => rank(a) - rank(b) || (a.due_on ?? '9').localeCompare(b.due_on ?? '9'))
    place.standing = standing(place.records[0]!, kind)
  }
  return [...found.values()]
}

/** How many records stand how, for the legend. */
export function counts(found: readonly RecordPlace[], kind: Register): Record<Standing, number> {
  const sums = { late: 0, open: 0, ended: 0 }
  for (const place of found) for (const record of place.records) sums[standing(record, kind)] += 1
  return sums
}
