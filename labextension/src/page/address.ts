// The chosen job stands in the address: it is there after a reload, and the phone's way back closes it.

interface Choosing {
  onChosen: (id: string) => void;
  choose(id: string): void;
}

export function keepInAddress(panel: Choosing, page: Pick<Window, "location" | "history" | "addEventListener">): void {
  const { location, history } = page;
  const inAddress = (): string => location.hash.slice(1);
  panel.onChosen = (id) => {
    if (id === inAddress()) return;
    const address = location.pathname + (id && `#${id}`);
    if (inAddress() && id) history.replaceState(history.state, "", address); // one step back, however many were looked at
    else if (id) history.pushState("chosen", "", address);
    else if (history.state === "chosen") history.back();
    else history.replaceState(null, "", address);
  };
  page.addEventListener("popstate", () => panel.choose(inAddress()));
  if (inAddress()) panel.choose(inAddress());
}
