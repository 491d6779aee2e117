import { expect, it } from 'vitest'
import type { CountyCollection, VehicleLatest } from '@/api/types'
import { bounds, labels, noLevels, vehicles } from './features'

const counties: CountyCollection = {
  type: 'FeatureCollection',
  features: [
    { type: 'Feature', properties: { code: '530402', name: '红塔区', name_en: 'Hongta', label: [102.4, 24.3] }, geometry: { type: 'Polygon', coordinates: [[[102, 24], [103, 24.5], [102, 24]]] } },
  ],
}
it('writes_only_the_levels_that_stand', () => {
  const [label] = labels(counties, false, new Map([['530402', { ...noLevels(), red: 2, blue: 1 }]])).features
  expect(label!.properties).toMatchObject({ name: '红塔区', gap: '\n', red: '◆2 ', orange: '', blue: '●1 ' })
  expect(labels(counties, true, new Map()).features[0]!.properties).toMatchObject({ name: 'Hongta', gap: '' })
})
it('gives_no_level_property_to_a_normal_vehicle', () => {
  const v: VehicleLatest = { id: '1', plate: '云F·演001', kind: 'truck', lon: 102, lat: 24, speed_kmh: 0, direction_deg: 90, at: '', online: true, level: null }
  const [normal, red] = vehicles([v, { ...v, level: 'red' }]).features
  expect('level' in normal!.properties).toBe(false)
  expect(red!.properties).toMatchObject({ level: 'red', order: 3 })
})
it('finds_the_box_around_nested_coordinates', () => {
  expect(bounds(counties.features.map((f) => f.geometry.coordinates))).toEqual([102, 24, 103, 24.5])
})
