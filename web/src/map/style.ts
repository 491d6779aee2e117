// The look of the built-in map: land, borders, county names with their worst levels, sites, vehicles. No tiles, no glyph server.
// Colours come from the theme's tokens; the four level colours appear only on level marks. Start at [`buildStyle`].
import type { StyleSpecification } from 'maplibre-gl'
import type { Level } from '@/api/types'
import { LEVELS, SHAPE } from '@/areas/alarm/alarm'
import { token } from '@/theme/theme'

const EMPTY = { type: 'FeatureCollection' as const, features: [] }
export const SOURCES = ['counties', 'labels', 'sites', 'vehicles', 'records', 'track', 'picked'] as const
export type SourceName = (typeof SOURCES)[number]

export function buildStyle(): StyleSpecification {
  const c = {
    bg: token('--map-bg'),
    land: token('--map-land'),
    line: token('--map-line'),
    text: token('--text'),
    site: token('--map-site'),
    vehicle: token('--map-vehicle'),
    offline: token('--offline'),
    focus: token('--focus'),
    red: token('--red'),
    orange: token('--orange'),
    yellow: token('--yellow'),
    blue: token('--blue'),
  }
  const level = (name: Level) => [['get', name], { 'text-color': c[name], 'font-scale': 0.95 }] as const
  const source = { type: 'geojson' as const, data: EMPTY }
  return {
    version: 8,
    sources: { counties: source, labels: source, sites: source, vehicles: source, records: source, track: source, picked: source },
    layers: [
      { id: 'bg', type: 'background', paint: { 'background-color': c.bg } },
      { id: 'land', type: 'fill', source: 'counties', paint: { 'fill-color': c.land } },
      { id: 'border', type: 'line', source: 'counties', paint: { 'line-color': c.line, 'line-width': 1.2 } },
      {
        id: 'track',
        type: 'line',
        source: 'track',
        filter: ['has', 'pace'],
        layout: { 'line-cap': 'round', 'line-join': 'round' },
        // Width says it too: above the limit is widest, standing thinnest.
        paint: {
          'line-color': ['match', ['get', 'pace'], 'over', c.red, 'drive', c.focus, 'slow', c.site, c.offline],
          'line-width': ['match', ['get', 'pace'], 'over', 5, 'drive', 2.5, 'slow', 2, 1.5],
        },
      },
      {
        id: 'drift',
        type: 'circle',
        source: 'track',
        filter: ['has', 'drift'],
        paint: { 'circle-radius': 5, 'circle-color': 'rgba(0, 0, 0, 0)', 'circle-stroke-color': c.orange, 'circle-stroke-width': 2 },
      },
      {
        id: 'sites',
        type: 'symbol',
        source: 'sites',
        filter: ['!', ['has', 'level']],
        layout: { 'icon-image': 'site', 'icon-allow-overlap': true, 'icon-size': ['interpolate', ['linear'], ['zoom'], 7, 0.5, 11, 0.9] },
      },
      {
        id: 'vehicles',
        type: 'symbol',
        source: 'vehicles',
        filter: ['!', ['has', 'level']],
        layout: {
          'icon-image': ['case', ['get', 'online'], 'vehicle', 'vehicle-off'],
          'icon-rotate': ['get', 'direction'],
          'icon-rotation-alignment': 'map',
          'icon-allow-overlap': true,
          'icon-ignore-placement': true,
          'icon-size': ['interpolate', ['linear'], ['zoom'], 7, 0.4, 11, 0.85],
        },
      },
      {
        id: 'vehicles-level',
        type: 'symbol',
        source: 'vehicles',
        filter: ['has', 'level'],
        layout: { 'icon-image': ['concat', 'level-', ['get', 'level']], 'icon-allow-overlap': true, 'icon-ignore-placement': true, 'icon-size': 0.6, 'symbol-sort-key': ['get', 'order'] },
      },
      {
        id: 'sites-level',
        type: 'symbol',
        source: 'sites',
        filter: ['has', 'level'],
        layout: { 'icon-image': ['concat', 'level-', ['get', 'level']], 'icon-allow-overlap': true, 'icon-ignore-placement': true, 'icon-size': 0.85, 'symbol-sort-key': ['get', 'order'] },
      },
      {
        id: 'records',
        type: 'symbol',
        source: 'records',
        layout: {
          'icon-image': ['concat', 'record-', ['get', 'standing']],
          'icon-allow-overlap': true,
          'symbol-sort-key': ['get', 'order'],
          'text-field': ['get', 'many'],
          'text-size': 13,
          'text-font': ['sans'],
          'text-offset': [1.1, 0],
          'text-anchor': 'left',
          'text-allow-overlap': true,
        },
        paint: { 'text-color': c.text, 'text-halo-color': c.land, 'text-halo-width': 2 },
      },
      {
        id: 'site-names',
        type: 'symbol',
        source: 'sites',
        minzoom: 10.5,
        layout: { 'text-field': ['get', 'name'], 'text-size': 12, 'text-font': ['sans'], 'text-offset': [0, 1.1], 'text-anchor': 'top' },
        paint: { 'text-color': c.text, 'text-halo-color': c.land, 'text-halo-width': 1.5 },
      },
      {
        id: 'names',
        type: 'symbol',
        source: 'labels',
        layout: {
          'text-field': ['format', ['get', 'name'], {}, ['get', 'gap'], {}, ...LEVELS.flatMap(level)] as never,
          'text-size': ['interpolate', ['linear'], ['zoom'], 7, 13, 10, 17],
          'text-font': ['sans'],
          'text-line-height': 1.25,
          'text-allow-overlap': true,
        },
        paint: { 'text-color': c.text, 'text-halo-color': c.land, 'text-halo-width': 2 },
      },
      { id: 'picked', type: 'circle', source: 'picked', paint: { 'circle-radius': 14, 'circle-color': 'transparent', 'circle-stroke-color': c.focus, 'circle-stroke-width': 3 } },
    ],
  }
}

export const PICKABLE = ['records', 'sites-level', 'vehicles-level', 'vehicles', 'sites']

function draw(size: number, paint: (g: CanvasRenderingContext2D) => void): ImageData {
  const canvas = document.createElement('canvas')
  canvas.width = canvas.height = size
  const g = canvas.getContext('2d')
  if (!g) return new ImageData(size, size)
  paint(g)
  return g.getImageData(0, 0, size, size)
}

/** The marks as images at twice their size: shapes, not only colours. */
export function buildImages(): Record<string, ImageData> {
  const land = token('--map-land')
  const images: Record<string, ImageData> = {}
  for (const level of LEVELS) {
    images[`level-${level}`] = draw(56, (g) => {
      g.font = '44px sans-serif'
      g.textAlign = 'center'
      g.textBaseline = 'middle'
      g.lineWidth = 8
      g.strokeStyle = land
      g.strokeText(SHAPE[level], 28, 28)
      g.fillStyle = token(`--${level}-fill`)
      g.fillText(SHAPE[level], 28, 28)
    })
  }
  images.site = draw(32, (g) => {
    g.lineWidth = 3
    g.strokeStyle = land
    g.fillStyle = token('--map-site')
    g.fillRect(9, 9, 14, 14)
    g.strokeRect(7.5, 7.5, 17, 17)
  })
  // Shapes alone tell them apart: a warning triangle, a ring, a small square.
  const ink = token('--text')
  images['record-late'] = draw(48, (g) => {
    g.beginPath()
    g.moveTo(24, 4)
    g.lineTo(45, 42)
    g.lineTo(3, 42)
    g.closePath()
    g.lineJoin = 'round'
    g.lineWidth = 6
    g.strokeStyle = land
    g.stroke()
    g.fillStyle = ink
    g.fill()
    g.fillStyle = land
    g.fillRect(21.5, 16, 5, 14)
    g.fillRect(21.5, 33, 5, 5)
  })
  images['record-open'] = draw(40, (g) => {
    g.beginPath()
    g.arc(20, 20, 11, 0, 2 * Math.PI)
    g.fillStyle = land
    g.fill()
    g.lineWidth = 9
    g.strokeStyle = land
    g.stroke()
    g.lineWidth = 5
    g.strokeStyle = ink
    g.stroke()
  })
  images['record-ended'] = draw(32, (g) => {
    g.fillStyle = token('--offline')
    g.fillRect(10, 10, 12, 12)
    g.lineWidth = 3
    g.strokeStyle = land
    g.strokeRect(8.5, 8.5, 15, 15)
  })
  const arrow = (fill: string, hollow: boolean) =>
    draw(40, (g) => {
      g.beginPath()
      g.moveTo(20, 5)
      g.lineTo(31, 33)
      g.lineTo(20, 27)
      g.lineTo(9, 33)
      g.closePath()
      g.lineJoin = 'round'
      g.lineWidth = hollow ? 3 : 2
      g.strokeStyle = hollow ? fill : land
      if (!hollow) {
        g.fillStyle = fill
        g.fill()
      }
      g.stroke()
    })
  images.vehicle = arrow(token('--map-vehicle'), false)
  images['vehicle-off'] = arrow(token('--offline'), true)
  return images
}
