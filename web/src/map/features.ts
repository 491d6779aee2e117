// Rows to GeoJSON for the map's sources. Pure; the map only draws what comes from here.
import type { CountyCollection, Enterprise, Level, VehicleLatest } from '@/api/types'
import { LEVELS, SHAPE, rank } from '@/areas/alarm/alarm'
import { type RecordPlace, STANDINGS } from '@/areas/register/places'

export type LevelCounts = Record<Level, number>
export const noLevels = (): LevelCounts => ({ red: 0, orange: 0, yellow: 0, blue: 0 })
interface Feature {
  type: 'Feature'
  properties: Record<string, unknown>
  geometry: { type: 'Point'; coordinates: number[] } | { type: 'LineString'; coordinates: number[][] }
}
export interface Features {
  type: 'FeatureCollection'
  features: Feature[]
}
const collection = (features: Feature[]): Features => ({ type: 'FeatureCollection', features })
const point = (lon: number, lat: number, properties: Record<string, unknown>): Feature => ({ type: 'Feature', properties, geometry: { type: 'Point', coordinates: [lon, lat] } })
/** A level and its drawing order (red last, on top); nothing for no level, so that `has` can filter. */
const marked = (level: Level | null | undefined) => (level ? { level, order: 3 - rank(level) } : {})

/** County names, each with the counts of its open alarms in their level colours. */
export function labels(counties: CountyCollection, english: boolean, counts: ReadonlyMap<string, LevelCounts>): Features {
  return collection(
    counties.features.map((f) => {
      const own = counts.get(f.properties.code) ?? noLevels()
      const shown = LEVELS.filter((level) => own[level] > 0)
      const texts = Object.fromEntries(LEVELS.map((level) => [level, own[level] > 0 ? `${SHAPE[level]}${own[level]} ` : '']))
      return point(f.properties.label[0], f.properties.label[1], { name: english ? f.properties.name_en : (f.properties.short ?? f.properties.name), gap: shown.length ? '\n' : '', ...texts })
    }),
  )
}

export function sites(rows: readonly Enterprise[], levels: ReadonlyMap<string, Level>): Features {
  return collection(rows.flatMap((e) => (e.place ? [point(e.place.lon, e.place.lat, { id: e.id, kind: 'enterprise', name: e.name, ...marked(levels.get(e.id)) })] : [])))
}

export function vehicles(rows: Iterable<VehicleLatest>): Features {
  const features: Feature[] = []
  for (const v of rows) features.push(point(v.lon, v.lat, { id: v.id, kind: 'vehicle', direction: v.direction_deg, online: v.online, ...marked(v.level) }))
  return collection(features)
}

/** Places of records; one that holds several says how many. */
export function records(rows: readonly RecordPlace[]): Features {
  return collection(rows.map((p) => point(p.lon, p.lat, { id: p.id, kind: 'record', standing: p.standing, order: -STANDINGS.indexOf(p.standing), many: p.records.length > 1 ? String(p.records.length) : '' })))
}

/** How fast a stretch of track was driven. */
export type Pace = 'stand' | 'slow' | 'drive' | 'over'
/** A track to draw: stretches of one pace each, and the places that cannot be true. */
export interface Track {
  stretches: { pace: Pace; coordinates: number[][] }[]
  drift: number[][]
}
export const noTrack = (): Track => ({ stretches: [], drift: [] })

export function track(of: Track): Features {
  const lines = of.stretches
    .filter((s) => s.coordinates.length > 1)
    .map((s): Feature => ({ type: 'Feature', properties: { pace: s.pace }, geometry: { type: 'LineString', coordinates: s.coordinates } }))
  return collection([...lines, ...of.drift.map(([lon, lat]) => point(lon!, lat!, { drift: true }))])
}
export const single = (lon: number, lat: number) => collection([point(lon, lat, {})])
export const nothing = () => collection([])

/** West, south, east, north of every coordinate below `value`. */
export function bounds(value: unknown, box: [number, number, number, number] = [180, 90, -180, -90]): [number, number, number, number] {
  if (!Array.isArray(value)) return box
  if (typeof value[0] === 'number' && typeof value[1] === 'number') {
    return [Math.min(box[0], value[0]), Math.min(box[1], value[1]), Math.max(box[2], value[0]), Math.max(box[3], value[1])]
  }
  return value.reduce((b: [number, number, number, number], part) => bounds(part, b), box)
}
