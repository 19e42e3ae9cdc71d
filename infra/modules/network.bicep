// A virtual network with a subnet for the app and one for private endpoints.
import { tagSet } from '../types.bicep'

@description('Name of the network.')
param name string

@description('Region.')
param location string

@description('Tags.')
param tags tagSet

@description('Address space in CIDR notation, /23 or larger.')
param addressSpace string

@description('The service that the app\'s subnet is delegated to.')
@allowed(['Microsoft.App/environments', 'Microsoft.Web/serverFarms'])
param delegation string

@description('Addresses of DNS servers, such as those of a hub. If there are none, Azure resolves names.')
param dnsServers string[]

@description('Resource id of a route table, which sends traffic to a firewall. Empty if there is none.')
param routeTableId string

@description('Let the app reach the internet through an address of its own.')
param hasNatGateway bool

@description('Make a subnet and an inbound endpoint where networks on premises resolve private names.')
param hasDnsResolver bool

@description('Resource id of the Log Analytics workspace.')
param workspaceId string

// The functions' subnet has no underscore in its name and is shared with nothing: Flex Consumption refuses both.
var prefixes = {
  functions: cidrSubnet(addressSpace, 26, 0)
  endpoints: cidrSubnet(addressSpace, 26, 1)
  resolver: cidrSubnet(addressSpace, 28, 8)
}

resource functionsRules 'Microsoft.Network/networkSecurityGroups@2024-07-01' = {
  name: '${name}-functions'
  location: location
  tags: tags
  properties: {
    securityRules: [
      {
        name: 'deny-inbound'
        properties: {
          description: 'Nobody connects to the app through its subnet: it only calls out from there.'
          access: 'Deny'
          direction: 'Inbound'
          priority: 4000
          protocol: '*'
          sourceAddressPrefix: 'Internet'
          sourcePortRange: '*'
          destinationAddressPrefix: '*'
          destinationPortRange: '*'
        }
      }
    ]
  }
}

resource endpointsRules 'Microsoft.Network/networkSecurityGroups@2024-07-01' = {
  name: '${name}-endpoints'
  location: location
  tags: tags
  properties: {
    securityRules: [
      {
        name: 'allow-https'
        properties: {
          access: 'Allow'
          direction: 'Inbound'
          priority: 100
          protocol: 'Tcp'
          sourceAddressPrefix: 'VirtualNetwork'
          sourcePortRange: '*'
          destinationAddressPrefix: prefixes.endpoints
          destinationPortRange: '443'
        }
      }
      {
        name: 'deny-inbound'
        properties: {
          access: 'Deny'
          direction: 'Inbound'
          priority: 4000
          protocol: '*'
          sourceAddressPrefix: '*'
          sourcePortRange: '*'
          destinationAddressPrefix: '*'
          destinationPortRange: '*'
        }
      }
    ]
  }
}

resource address 'Microsoft.Network/publicIPAddresses@2024-07-01' = if (hasNatGateway) {
  name: '${name}-outbound'
  location: location
  tags: tags
  sku: { name: 'Standard' }
  properties: { publicIPAllocationMethod: 'Static' }
}

resource gateway 'Microsoft.Network/natGateways@2024-07-01' = if (hasNatGateway) {
  name: '${name}-nat'
  location: location
  tags: tags
  sku: { name: 'Standard' }
  properties: { publicIpAddresses: [{ id: address!.id }] }
}

resource network 'Microsoft.Network/virtualNetworks@2024-07-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    addressSpace: { addressPrefixes: [addressSpace] }
    dhcpOptions: { dnsServers: dnsServers }
    // Subnets stand here and not beside the network, so that a second provision does not remove them.
    subnets: concat(
      [
        {
          name: 'functions'
          properties: {
            addressPrefix: prefixes.functions
            defaultOutboundAccess: false
            delegations: [{ name: 'functions', properties: { serviceName: delegation } }]
            natGateway: hasNatGateway ? { id: gateway!.id } : null
            networkSecurityGroup: { id: functionsRules.id }
            routeTable: empty(routeTableId) ? null : { id: routeTableId }
          }
        }
        {
          name: 'endpoints'
          properties: {
            addressPrefix: prefixes.endpoints
            defaultOutboundAccess: false
            networkSecurityGroup: { id: endpointsRules.id }
            privateEndpointNetworkPolicies: 'Enabled'
          }
        }
      ],
      hasDnsResolver
        ? [
            {
              name: 'resolver'
              properties: {
                addressPrefix: prefixes.resolver
                defaultOutboundAccess: false
                delegations: [{ name: 'resolver', properties: { serviceName: 'Microsoft.Network/dnsResolvers' } }]
              }
            }
          ]
        : []
    )
  }
}

resource functionsSubnet 'Microsoft.Network/virtualNetworks/subnets@2024-07-01' existing = {
  parent: network
  name: 'functions'
}

resource endpointsSubnet 'Microsoft.Network/virtualNetworks/subnets@2024-07-01' existing = {
  parent: network
  name: 'endpoints'
}

resource resolver 'Microsoft.Network/dnsResolvers@2025-05-01' = if (hasDnsResolver) {
  name: '${name}-resolver'
  location: location
  tags: tags
  properties: { virtualNetwork: { id: network.id } }
}

resource inbound 'Microsoft.Network/dnsResolvers/inboundEndpoints@2025-05-01' = if (hasDnsResolver) {
  parent: resolver
  name: 'inbound'
  location: location
  tags: tags
  properties: {
    ipConfigurations: [{ privateIpAllocationMethod: 'Dynamic', subnet: { id: '${network.id}/subnets/resolver' } }]
  }
}

resource networkDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: network
  name: 'workspace'
  properties: {
    workspaceId: workspaceId
    metrics: [{ category: 'AllMetrics', enabled: true }]
  }
}

resource functionsRulesDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: functionsRules
  name: 'workspace'
  properties: {
    workspaceId: workspaceId
    logs: [{ categoryGroup: 'allLogs', enabled: true }]
  }
}

resource endpointsRulesDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: endpointsRules
  name: 'workspace'
  properties: {
    workspaceId: workspaceId
    logs: [{ categoryGroup: 'allLogs', enabled: true }]
  }
}

resource addressDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = if (hasNatGateway) {
  scope: address
  name: 'workspace'
  properties: {
    workspaceId: workspaceId
    metrics: [{ category: 'AllMetrics', enabled: true }]
  }
}

@description('Resource id of the network.')
output id string = network.id

@description('Resource id of the subnet from which the app calls out.')
output functionsSubnetId string = functionsSubnet.id

@description('Resource id of the subnet of private endpoints.')
output endpointsSubnetId string = endpointsSubnet.id
