/** Every setting as it stands; secrets are hidden by the server. */

import { element } from '../../parts/dom.js'
import { ask } from '../api.js'
import { makeTable, row } from './parts.js'

/** @type {import('../console.js').MakeView} */
export function configView(content) {
  content.append(element('h1', '', 'Configuration'), element('p', 'lead', 'What differs from the default is bold. Changes are made in the file, the environment or on the command line; see roomcast config.'))
  return {
    everyMs: null,
    async refresh() {
      const { sections } = await ask('GET', '/console/api/config')
      for (const { name, settings } of sections) {
        const table = makeTable(['Setting', 'Value', 'Default', 'What it does'], '')
        table.fill(
          settings.map((/** @type {any} */ setting) => {
            const value = element('code', setting.value === setting.default ? '' : 'changed', setting.value)
            const line = row(element('code', '', setting.name), value, element('code', '', setting.default), setting.doc)
            line.dataset.setting = `${name}.${setting.name}`
            return line
          }),
        )
        content.append(element('h2', '', `[${name}]`), table.element)
      }
    },
  }
}
