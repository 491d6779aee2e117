// The kinds of register of this node with their counts: for the menu and the overview. Start at [`useRegisters`].
// One kind in full, kept between pages so that going back is at once: [`useKind`].
import { ref, shallowRef } from 'vue'
import { defineStore } from 'pinia'
import { api } from '@/api/client'
import { type Load, useLoad } from '@/components/useLoad'
import type { Register, RegisterSummary } from './types'

export const useRegisters = defineStore('registers', () => {
  const list = shallowRef<RegisterSummary[]>([])
  const error = shallowRef<unknown>(null)
  const busy = ref(false)
  async function fetch() {
    busy.value = true
    try {
      list.value = (await api.get<{ registers: RegisterSummary[] }>('/registers')).registers
      error.value = null
    } catch (problem) {
      error.value = problem
    } finally {
      busy.value = false
    }
  }
  return { list, error, busy, fetch }
})

const held = new Map<string, Register>()
export const fetchKind = async (kind: string, signal?: AbortSignal): Promise<Register> => {
  const found = await api.get<Register>(`/registers/${encodeURIComponent(kind)}`, {}, signal)
  held.set(kind, found)
  return found
}
/** A kind: what is held at once, then the server's word. */
export function useKind(kind: string): Load<Register> {
  const load = useLoad((signal) => fetchKind(kind, signal))
  load.data.value = held.get(kind) ?? null
  void load.run()
  return load
}

/** The filters with which each list was last left, for the way back. */
export const lastQuery = new Map<string, Record<string, string>>()
