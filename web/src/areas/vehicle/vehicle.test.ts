import { expect, it } from 'vitest'
import type { Position, VehicleLatest } from '@/api/types'
import { take } from './latest'
import { bits, indexAt, itemRows, paceOf, trackOf } from './position'

it('reads_all_32_bits', () => {
  expect(bits(0)).toEqual([])
  expect(bits(0x80000003)).toEqual([0, 1, 31])
})
it('leaves_drift_and_no_fix_out_of_the_track', () => {
  const at = (over: Partial<Position>) => ({ lon: 1, lat: 2, speed_kmh: 60, fix: true, flags: [], ...over }) as unknown as Position
  expect(trackOf([at({}), at({ fix: false }), at({ flags: ['drift'], lon: 9 }), at({ lon: 3 })])).toEqual({ stretches: [{ pace: 'drive', coordinates: [[1, 2], [3, 2]] }], drift: [[9, 2]] })
})
it('colours_the_track_by_speed_without_a_hole_between_two_stretches', () => {
  const at = (lon: number, speed_kmh: number) => ({ lon, lat: 0, speed_kmh, fix: true, flags: [] }) as unknown as Position
  expect(trackOf([at(1, 60), at(2, 60), at(3, 95), at(4, 0)], 80).stretches).toEqual([
    { pace: 'drive', coordinates: [[1, 0], [2, 0]] },
    { pace: 'over', coordinates: [[2, 0], [3, 0]] },
    { pace: 'stand', coordinates: [[3, 0], [4, 0]] },
  ])
  expect([paceOf(4.9, null), paceOf(5, null), paceOf(30, null), paceOf(80, 80), paceOf(80.1, 80)]).toEqual(['stand', 'slow', 'drive', 'drive', 'over'])
})
it('finds_the_position_of_a_moment', () => {
  const rows = [10, 20, 30].map((s) => ({ at: new Date(s * 1000).toISOString() }) as unknown as Position)
  expect([0, 10, 19, 20, 99].map((s) => indexAt(rows, s * 1000))).toEqual([0, 0, 0, 1, 2])
})
it('shows_items_with_their_units', () => {
  expect(
    itemRows([
      { id: '0x01', name: 'odometer', odometer_km: 12.5 },
      { id: '0x2a', name: 'io', io_bits: 1, sleep: false },
      { id: '0xf3', name: 'raw', raw: '0102' },
      { truncated: 'ff' },
      { id: '0x65', name: 'driver_state_alarm', dialect: 'subiao', tag: { sequence: 1, files: [{ n: 2 }] } },
    ]),
  ).toEqual([
    { key: 'odometer', id: '0x01', text: '12.5\u2009km' },
    { key: 'io', id: '0x2a', text: 'io_bits=1，sleep=false' },
    { key: 'raw', id: '0xf3', text: '0102' },
    { key: 'truncated', id: '', text: 'ff' },
    { key: 'driver_state_alarm', id: '0x65', text: 'dialect=subiao，tag=(sequence=1，files=(n=2))' },
  ])
  expect(itemRows(null)).toEqual([])
})
it('does_not_move_a_vehicle_back_on_a_replay', () => {
  const at = (at: string, lon: number) => ({ id: '1', at, lon }) as unknown as VehicleLatest
  const held = new Map<string, VehicleLatest>()
  take(held, [at('2026-11-24T00:00:02Z', 2)])
  take(held, [at('2026-11-24T00:00:01Z', 1)])
  expect(held.get('1')!.lon).toBe(2)
})
