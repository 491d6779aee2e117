// The open records of a register as a layer of any map. Start at [`useRecordLayer`].
import { computed, watch } from 'vue'
import { api } from '@/api/client'
import { useLoad } from '@/components/useLoad'
import { useTopic } from '@/live/live'
import { type MapLayer, places } from './places'
import { fetchKind } from './registers'
import type { RegisterRecord } from './types'

/** `kindId` may be empty: no layer. */
export function useRecordLayer(kindId: () => string) {
  const load = useLoad(async (signal) => {
    const id = kindId()
    if (!id) return null
    const [kind, layer] = await Promise.all([fetchKind(id, signal), api.get<MapLayer>(`/registers/${encodeURIComponent(id)}/map`, { open: true }, signal)])
    return { kind, layer }
  })
  watch(kindId, () => void load.run(), { immediate: true })
  useTopic<RegisterRecord>('records', (changed) => {
    if (changed.some((record) => record.kind === kindId())) void load.run()
  })
  const found = computed(() => (load.data.value ? places(load.data.value.layer, load.data.value.kind) : []))
  return { load, found }
}
