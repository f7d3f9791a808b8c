import type { BindingsBirth } from "@bellwether/protocol/messages/device.ts";
import type { ModelBindingConfig } from "./config.ts";

/** What a configuration says of its models on one asset, as the asset's birth tells the server. */
export function bindingsOf(models: readonly ModelBindingConfig[], asset: string): BindingsBirth {
  return Object.fromEntries(
    models.map(({ model, assets, channels }) => [
      model,
      assets === undefined || assets.includes(asset) ? { ...channels } : null,
    ]),
  );
}
