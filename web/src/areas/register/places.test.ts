import { expect, it } from 'vitest'
import { KIND } from './fixture'
import { type MapLayer, counts, places } from './places'

const feature = (id: string, lon: number, state: string, overdue = false, due_on: string | null = null) => ({ type: 'Feature', geometry: { type: 'Point', coordinates: [lon, 24] as [number, number] }, properties: { id, title: id, state, overdue, due_on } })
const layer: MapLayer = {
  type: 'FeatureCollection',
  features: [feature('done', 102, 'closed'), feature('open', 102, 'found', false, '2026-02-02'), feature('soon', 102, 'found', false, '2026-01-02'), feature('late', 102.00000001, 'treating', true), feature('far', 103, 'closed')],
  placeless: 1,
  more: false,
}
it('makes_one_symbol_of_what_stands_at_one_gate_and_shows_the_worst', () => {
  expect(places(layer, KIND).map((p) => [p.standing, p.records.map((r) => r.id)])).toEqual([
    ['late', ['late', 'soon', 'open', 'done']],
    ['ended', ['far']],
  ])
})
it('counts_records_not_symbols', () => {
  expect(counts(places(layer, KIND), KIND)).toEqual({ late: 1, open: 2, ended: 2 })
})
