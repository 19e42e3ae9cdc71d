// One direction of a peering. Deploy it to the resource group of the network that it begins at.

@description('Name of the network that the peering begins at.')
param networkName string

@description('Resource id of the other network.')
param remoteNetworkId string

@description('Use the gateways of the other network to reach premises. Only from a spoke to its hub.')
param usesRemoteGateways bool

resource network 'Microsoft.Network/virtualNetworks@2024-07-01' existing = {
  name: networkName
}

resource peering 'Microsoft.Network/virtualNetworks/virtualNetworkPeerings@2024-07-01' = {
  parent: network
  name: 'to-${last(split(remoteNetworkId, '/'))}'
  properties: {
    remoteVirtualNetwork: { id: remoteNetworkId }
    allowVirtualNetworkAccess: true
    allowForwardedTraffic: true
    allowGatewayTransit: !usesRemoteGateways
    useRemoteGateways: usesRemoteGateways
  }
}
